package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// shell is a tree with a shell and its tools, and how a client lends it.
func shell(t *testing.T) (llb.State, bkclient.SolveOpt) {
	t.Helper()
	busybox, err := os.ReadFile(testenv.Tool(t, "busybox"))
	check.OK(t, err)
	dir := t.TempDir()
	check.OK(t, os.WriteFile(filepath.Join(dir, "busybox"), busybox, 0o755))
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	st := llb.Scratch()
	for _, name := range []string{"sh", "cat", "sleep", "echo"} {
		st = st.File(llb.Copy(llb.Local("tools"), "busybox", "/bin/"+name, &llb.CopyInfo{CreateDestPath: true}))
	}
	return st, bkclient.SolveOpt{LocalMounts: map[string]fsutil.FS{"tools": fs}}
}

// run runs a process, and returns what it wrote and ended with.
func run(ctx context.Context, ctr gwclient.Container, input string, args ...string) (string, error) {
	var out bytes.Buffer
	p, err := ctr.Start(ctx, gwclient.StartRequest{
		Args: args, Stdin: io.NopCloser(strings.NewReader(input)), Stdout: buffer{&out}, Stderr: buffer{&out},
	})
	if err != nil {
		return "", err
	}
	err = p.Wait()
	return out.String(), err
}

type buffer struct{ io.Writer }

func (buffer) Close() error { return nil }

func code(err error) uint32 {
	var exit *gwpb.ExitError
	if !errors.As(err, &exit) {
		return 0
	}
	return exit.ExitCode
}

// build runs a frontend in the client, after which the daemon holds nothing.
func (d *daemon) build(opt bkclient.SolveOpt, f gwclient.BuildFunc) {
	d.t.Helper()
	_, err := d.Build(d.t.Context(), opt, "", f, nil)
	check.OK(d.t, err)
	check.OK(d.t, d.Prune(d.t.Context(), nil, bkclient.PruneAll))
	left, err := d.DiskUsage(d.t.Context())
	check.OK(d.t, err)
	for _, rec := range left {
		if rec.InUse {
			d.t.Errorf("%s (%s) is still in use", rec.ID, rec.Description)
		}
	}
}

// checkOp wants the op of an error to be in the definition, byte for byte: a debugger looks
// for it there by its digest.
func checkOp(t *testing.T, def *llb.Definition, op *pb.Op) {
	t.Helper()
	dt, err := op.Marshal()
	check.OK(t, err)
	if !slices.ContainsFunc(def.Def, func(one []byte) bool { return bytes.Equal(one, dt) }) {
		t.Errorf("the op of the error is not in the definition: %v", op)
	}
}

// A client looks into a step that failed: its trees can be read, and processes run in them.
func TestFailedStepContainer(t *testing.T) {
	d := start(t)
	tools, opt := shell(t)
	d.build(opt, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		step := tools.Run(llb.Args([]string{"sh", "-c", "echo root >/r; echo mount >/m/f; exit 3"}))
		step.AddMount("/m", llb.Scratch())
		def, err := step.Root().Marshal(ctx)
		check.OK(t, err)
		_, err = c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		var se *errdefs.SolveError
		if !errors.As(err, &se) || len(se.MountIDs) != 2 || len(se.InputIDs) != 2 || se.Op.GetExec() == nil {
			t.Fatalf("the error has no results: %v", err)
		}
		checkOp(t, def, se.Op)
		var mounts []gwclient.Mount
		for i, m := range se.Op.GetExec().Mounts {
			mounts = append(mounts, gwclient.Mount{Dest: m.Dest, MountType: m.MountType, ResultID: se.MountIDs[i]})
		}
		ctr, err := c.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: mounts})
		check.OK(t, err)
		out, err := run(ctx, ctr, "", "cat", "/r", "/m/f")
		check.OK(t, err)
		check.Equal(t, "output", out, "root\nmount\n")
		for i, want := range map[int]string{0: "root\n", 1: "mount\n"} {
			name := []string{"/r", "/f"}[i]
			dt, err := ctr.ReadFile(ctx, gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{Filename: name}, MountIndex: i})
			check.OK(t, err)
			check.Equal(t, name, string(dt), want)
			st, err := ctr.StatFile(ctx, gwclient.StatContainerRequest{StatRequest: gwclient.StatRequest{Path: name}, MountIndex: i})
			check.OK(t, err)
			check.Equal(t, "size", int(st.Size), len(want))
		}
		list, err := ctr.ReadDir(ctx, gwclient.ReadDirContainerRequest{ReadDirRequest: gwclient.ReadDirRequest{Path: "/"}, MountIndex: 1})
		check.OK(t, err)
		check.Equal(t, "files", len(list), 1)
		return gwclient.NewResult(), ctr.Release(ctx)
	})
}

// A client looks into the input of a step that does not have what is to be mounted of it.
func TestMissingMountContainer(t *testing.T) {
	d := start(t)
	tools, opt := shell(t)
	d.build(opt, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		input := llb.Scratch().File(llb.Mkfile("/there", 0o644, []byte("there")))
		step := tools.Run(llb.Args([]string{"true"}), llb.AddMount("/m", input, llb.SourcePath("/none"), llb.Readonly))
		def, err := step.Root().Marshal(ctx)
		check.OK(t, err)
		_, err = c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		var se *errdefs.SolveError
		if !errors.As(err, &se) || len(se.InputIDs) != 1 || len(se.MountIDs) != 0 {
			t.Fatalf("the error does not have the input: %v", err)
		}
		if _, ok := se.Subject.(*errdefs.Solve_Cache); !ok {
			t.Fatalf("the error is about %v", se.Subject)
		}
		ctr, err := c.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: "/", ResultID: se.InputIDs[0]}}})
		check.OK(t, err)
		dt, err := ctr.ReadFile(ctx, gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{Filename: "/there"}})
		check.OK(t, err)
		check.Equal(t, "file", string(dt), "there")
		return gwclient.NewResult(), ctr.Release(ctx)
	})
}

// A client looks into a file action that failed: the tree is as the actions before left it.
func TestFailedFileActionContainer(t *testing.T) {
	d := start(t)
	d.build(bkclient.SolveOpt{}, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		def, err := llb.Scratch().File(llb.Mkfile("/a", 0o644, []byte("a")).Mkfile("/no/b", 0o644, nil)).Marshal(ctx)
		check.OK(t, err)
		_, err = c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		var se *errdefs.SolveError
		if !errors.As(err, &se) || len(se.MountIDs) != 2 {
			t.Fatalf("the error has no results: %v", err)
		}
		subject, ok := se.Subject.(*errdefs.Solve_File)
		if !ok || subject.File.Index != 1 {
			t.Fatalf("the error is about %v", se.Subject)
		}
		checkOp(t, def, se.Op)
		ctr, err := c.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: "/", ResultID: se.MountIDs[1]}}})
		check.OK(t, err)
		dt, err := ctr.ReadFile(ctx, gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{Filename: "/a"}})
		check.OK(t, err)
		check.Equal(t, "file", string(dt), "a")
		return gwclient.NewResult(), nil // not released: the build does it
	})
}

// containerOf is a container whose root is a tree.
func containerOf(ctx context.Context, t *testing.T, c gwclient.Client, root llb.State) gwclient.Container {
	t.Helper()
	def, err := root.Marshal(ctx)
	check.OK(t, err)
	res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	check.OK(t, err)
	ctr, err := c.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: "/", Ref: res.Ref}}})
	check.OK(t, err)
	return ctr
}

// Processes get their input, signals and ends, and end with their container.
func TestContainerProcesses(t *testing.T) {
	d := start(t)
	tools, opt := shell(t)
	d.build(opt, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		ctr := containerOf(ctx, t, c, tools)
		first, err := ctr.Start(ctx, gwclient.StartRequest{Args: []string{"sleep", "1000"}})
		check.OK(t, err)
		large := strings.Repeat("0123456789\n", 100_000)
		out, err := run(ctx, ctr, large, "cat")
		check.OK(t, err)
		check.Equal(t, "what was passed on", out == large, true)
		if out, err = run(ctx, ctr, large, "sh", "-c", "echo no; exit 7"); code(err) != 7 || out != "no\n" {
			t.Errorf("a process that does not read its input: %q, %v", out, err)
		}
		if _, err = run(ctx, ctr, "", "none"); err == nil {
			t.Error("a program that is not there was run")
		}
		check.OK(t, first.Signal(ctx, syscall.SIGKILL))
		if err := first.Wait(); code(err) != 128+uint32(syscall.SIGKILL) {
			t.Errorf("a process that was killed: %v", err)
		}

		ctr = containerOf(ctx, t, c, tools)
		if first, err = ctr.Start(ctx, gwclient.StartRequest{Args: []string{"sleep", "1000"}}); err != nil {
			t.Fatal(err)
		}
		// The end of the process's stream, which the client sends first, may have killed it.
		if err := ctr.Release(ctx); err != nil {
			check.Says(t, err, "context canceled")
		}
		if first.Wait() == nil {
			t.Error("a process outlived its container")
		}
		return gwclient.NewResult(), nil
	})
}

// A process gets its signals, and others of the stream theirs, while it does not read the input
// that came before. A stream runs any number of processes one after the other.
func TestSignalPassesInput(t *testing.T) {
	d := start(t)
	tools, opt := shell(t)
	d.build(opt, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		ctr := containerOf(ctx, t, c, tools)
		r, w := io.Pipe()
		up, out := io.Pipe()
		p, err := ctr.Start(ctx, gwclient.StartRequest{Args: []string{"sh", "-c", "echo up; exec sleep 1000"}, Stdin: r, Stdout: out})
		check.OK(t, err)
		_, err = up.Read(make([]byte, 10))
		check.OK(t, err)
		// More than a pipe of the kernel has room for.
		_, err = w.Write(make([]byte, 600_000))
		check.OK(t, err)
		check.OK(t, p.Signal(ctx, syscall.SIGKILL))
		if err := p.Wait(); code(err) != 128+uint32(syscall.SIGKILL) {
			t.Errorf("a process that was killed: %v", err)
		}
		check.OK(t, w.Close())
		for range 200 {
			p, err := ctr.Start(ctx, gwclient.StartRequest{})
			check.OK(t, err)
			check.Says(t, p.Wait(), "names no program")
		}
		return gwclient.NewResult(), ctr.Release(ctx)
	})
}

// What a container is not granted is refused, and a request that is wrong is an error of
// its own.
func TestBadContainers(t *testing.T) {
	d := start(t)
	tools, opt := shell(t)
	d.build(opt, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		def, err := tools.Marshal(ctx)
		check.OK(t, err)
		res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
		check.OK(t, err)
		root := gwclient.Mount{Dest: "/", Ref: res.Ref}
		for want, req := range map[string]gwclient.NewContainerRequest{
			"root mount is required":  {},
			"no such reference":       {Mounts: []gwclient.Mount{{Dest: "/", ResultID: "none"}}},
			"root file systems":       {Mounts: []gwclient.Mount{root, root}},
			"no IP address":           {Mounts: []gwclient.Mount{root}, ExtraHosts: []*pb.HostIP{{Host: "a", IP: "b"}}},
			"cache mount needs an ID": {Mounts: []gwclient.Mount{root, {Dest: "/c", MountType: pb.MountType_CACHE}}},
			"secret":                  {Mounts: []gwclient.Mount{root, {Dest: "/s", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "s"}}}},
		} {
			if _, err := c.NewContainer(ctx, req); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error %v does not say %q", err, want)
			}
		}
		ctr, err := c.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{root}})
		check.OK(t, err)
		for want, req := range map[string]gwclient.StartRequest{
			"security.insecure is not allowed": {Args: []string{"true"}, SecurityMode: pb.SecurityMode_INSECURE},
			"names no program":                 {},
			"no ID":                            {Args: []string{"true"}, SecretEnv: []*pb.SecretEnv{{Name: "a"}}},
		} {
			p, err := ctr.Start(ctx, req)
			if err == nil {
				err = p.Wait()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error %v does not say %q", err, want)
			}
		}
		// As with buildkitd, what the container itself is not granted is an error of its process.
		host, err := c.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{root}, NetMode: pb.NetMode_HOST})
		check.OK(t, err)
		p, err := host.Start(ctx, gwclient.StartRequest{Args: []string{"true"}})
		check.OK(t, err)
		check.Says(t, p.Wait(), "network.host is not allowed")
		check.OK(t, host.Release(ctx))
		for _, i := range []int{-1, 1} {
			if _, err := ctr.ReadFile(ctx, gwclient.ReadContainerRequest{MountIndex: i}); err == nil {
				t.Errorf("mount %d was read", i)
			}
		}
		return gwclient.NewResult(), ctr.Release(ctx)
	})
}
