package control_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/buildid"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/control"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/internal/testenv"
)

const (
	// aRef and aBuild stand in an input for the names of a reference and of the build, which
	// are as long.
	aRef   = "rrrrrrrrrrrrrrrrrrrrrrrrr"
	aBuild = "bbbbbbbbbbbbbbbbbbbbbbbbb"
	// fuzzCall is how long a call takes, whatever it asks for; fuzzLate is how long it may take
	// to end after that.
	fuzzCall, fuzzLate = time.Second, 30 * time.Second
)

// bytesCodec sends messages that are bytes already.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }
func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// calls are the methods of the API, without those that end a build or the daemon's state.
func calls() (all []string) {
	for _, d := range []grpc.ServiceDesc{gwpb.LLBBridge_ServiceDesc, controlapi.Control_ServiceDesc, tracev1.TraceService_ServiceDesc} {
		for _, m := range d.Methods {
			all = append(all, "/"+d.ServiceName+"/"+m.MethodName)
		}
		for _, m := range d.Streams {
			all = append(all, "/"+d.ServiceName+"/"+m.StreamName)
		}
	}
	all = slices.DeleteFunc(all, func(m string) bool {
		return strings.HasSuffix(m, "/Return") || strings.HasSuffix(m, "/Session")
	})
	slices.Sort(all)
	return all
}

// fuzzed is a daemon with a build under way, which a client drives.
type fuzzed struct {
	conn     *grpc.ClientConn
	build    string
	ref      string
	panicked atomic.Pointer[string]
}

func startFuzzed(f *testing.F) *fuzzed {
	testenv.Root(f)
	dir := f.TempDir()
	must := func(err error) {
		if err != nil {
			f.Fatal(err)
		}
	}
	out := &fuzzed{build: strings.Repeat("x", len(aBuild))}
	e, err := engine.Open(f.Context(), engine.Options{Root: filepath.Join(dir, "root"), Entitlements: []string{}})
	must(err)
	h, err := history.Open(filepath.Join(dir, "history"), history.DefaultLimits)
	must(err)
	api := control.New(control.Options{Engine: e, History: h, Version: &apitypes.BuildkitVersion{}, Notice: func(text string) {
		if strings.Contains(text, "panic") {
			out.panicked.Store(&text)
		}
	}})
	s := grpc.NewServer(append(api.GRPCOptions(), grpc.Creds(control.Local()))...)
	api.Register(s)
	socketDir, err := os.MkdirTemp("", "fuzz") // short enough for a socket's path
	must(err)
	l, err := net.Listen("unix", filepath.Join(socketDir, "s"))
	must(err)
	go func() { _ = s.Serve(l) }()
	addr := "unix://" + l.Addr().String()
	out.conn, err = grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	c, err := bkclient.New(f.Context(), addr)
	must(err)
	ready, done, ended := make(chan string), make(chan struct{}), make(chan error)
	go func() {
		_, err := c.Build(context.Background(), bkclient.SolveOpt{Ref: out.build}, "", func(ctx context.Context, gw gwclient.Client) (*gwclient.Result, error) {
			def, err := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte("f"))).Marshal(ctx)
			if err != nil {
				return nil, err
			}
			resp, err := gwpb.NewLLBBridgeClient(out.conn).Solve(buildid.AppendToOutgoingContext(ctx, out.build), &gwpb.SolveRequest{Definition: def.ToPB(), AllowResultReturn: true})
			if err != nil {
				return nil, err
			}
			ready <- resp.Result.GetRef().GetId() + resp.Result.GetRefDeprecated()
			<-done
			return gwclient.NewResult(), nil
		}, nil)
		ended <- err
	}()
	select {
	case out.ref = <-ready:
	case err := <-ended:
		f.Fatal(err)
	}
	f.Cleanup(func() {
		close(done)
		must(<-ended)
		must(c.Close())
		must(out.conn.Close())
		s.Stop()
		must(e.Close())
		must(os.RemoveAll(socketDir))
	})
	return out
}

// call makes a call with a message of bytes, and takes some of what it is answered.
func (z *fuzzed) call(ctx context.Context, method string, msg []byte) {
	stream, err := z.conn.NewStream(buildid.AppendToOutgoingContext(ctx, z.build), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		method, grpc.ForceCodecV2(bytesCodec{}))
	if err != nil {
		return
	}
	_ = stream.SendMsg(msg) // the answer says why not
	_ = stream.CloseSend()
	for range 100 {
		var answer []byte
		if stream.RecvMsg(&answer) != nil {
			return
		}
	}
}

// FuzzCalls has a client send what it likes, to each of the API's methods: no call takes the
// daemon down, or goes on when the client is gone.
func FuzzCalls(f *testing.F) {
	all := calls()
	add := func(method string, m proto.Message) {
		dt, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(slices.IndexFunc(all, func(name string) bool { return strings.HasSuffix(name, "."+method) })), dt)
	}
	def, err := llb.Scratch().File(llb.Mkfile("/f", 0o644, nil)).Run(llb.Args([]string{"/none"})).Root().Marshal(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	add("LLBBridge/Solve", &gwpb.SolveRequest{Definition: def.ToPB(), Evaluate: true, AllowResultReturn: true, AllowResultArrayRef: true})
	add("LLBBridge/Solve", &gwpb.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: map[string]string{"filename": "f", "contextkey": "x"}, FrontendInputs: map[string]*pb.Definition{"context": def.ToPB()}})
	add("Control/Solve", &controlapi.SolveRequest{Ref: "other", Definition: def.ToPB(), Exporters: []*controlapi.Exporter{{Type: "oci"}}})
	add("LLBBridge/Evaluate", &gwpb.EvaluateRequest{Ref: aRef})
	add("LLBBridge/ReadFile", &gwpb.ReadFileRequest{Ref: aRef, FilePath: "/f", Range: &gwpb.FileRange{Offset: 1, Length: -1}})
	add("LLBBridge/ReadDir", &gwpb.ReadDirRequest{Ref: aRef, DirPath: "/", IncludePattern: "["})
	add("LLBBridge/StatFile", &gwpb.StatFileRequest{Ref: aRef, Path: "/../f"})
	add("LLBBridge/Warn", &gwpb.WarnRequest{Digest: "sha256:x", Short: []byte("short"), Info: &pb.SourceInfo{}, Ranges: []*pb.Range{{}}})
	add("LLBBridge/NewContainer", &gwpb.NewContainerRequest{ContainerID: "c", Mounts: []*pb.Mount{{Dest: "/", ResultID: aRef, Input: -1}, {Dest: "/t", MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: -1}}}})
	add("LLBBridge/ReleaseContainer", &gwpb.ReleaseContainerRequest{ContainerID: "c"})
	add("LLBBridge/ExecProcess", &gwpb.ExecMessage{ProcessID: "p", Input: &gwpb.ExecMessage_Init{Init: &gwpb.InitMessage{ContainerID: "c", Meta: &pb.Meta{Args: []string{"x"}}, Fds: []uint32{0, 1}}}})
	add("LLBBridge/ResolveImageConfig", &gwpb.ResolveImageConfigRequest{Ref: "127.0.0.1:1/x", Platform: &pb.Platform{}})
	add("LLBBridge/ResolveSourceMeta", &gwpb.ResolveSourceMetaRequest{Source: &pb.SourceOp{Identifier: "docker-image://127.0.0.1:1/x"}})
	add("TraceService/Export", &tracev1.ExportTraceServiceRequest{})
	add("Control/Prune", &controlapi.PruneRequest{Filter: []string{"id==x"}})
	add("Control/DiskUsage", &controlapi.DiskUsageRequest{Filter: []string{"type=="}})
	add("Control/ListenBuildHistory", &controlapi.BuildHistoryRequest{EarlyExit: true, Filter: []string{"status==x"}})
	add("Control/UpdateBuildHistory", &controlapi.UpdateBuildHistoryRequest{Ref: aBuild, Pinned: true})
	add("Control/Status", &controlapi.StatusRequest{Ref: "none"})
	z := startFuzzed(f)
	f.Fuzz(func(t *testing.T, n uint8, msg []byte) {
		method := all[int(n)%len(all)]
		msg = bytes.ReplaceAll(bytes.ReplaceAll(msg, []byte(aRef), []byte(z.ref)), []byte(aBuild), []byte(z.build))
		ctx, stop := context.WithTimeout(t.Context(), fuzzCall)
		defer stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			z.call(ctx, method, msg)
		}()
		select {
		case <-done:
		case <-time.After(fuzzCall + fuzzLate):
			t.Errorf("%s does not end", method)
		}
		if text := z.panicked.Load(); text != nil {
			t.Errorf("%s: %s", method, *text)
		}
	})
}
