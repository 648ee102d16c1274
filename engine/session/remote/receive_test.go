package remote_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"testing"

	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/remote"
	"github.com/tenonbuild/tenon/internal/check"
)

// sender is a client that sends a directory as a test says.
type sender func(filesync.FileSync_DiffCopyServer) error

func (s sender) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, s) }

func (s sender) DiffCopy(stream filesync.FileSync_DiffCopyServer) error { return s(stream) }

func (s sender) TarStream(filesync.FileSync_TarStreamServer) error { return nil }

// serve lends what a sender sends.
func serve(t *testing.T, s sender) session.Session {
	t.Helper()
	var all session.Sessions
	bk, err := bksession.NewSession(t.Context(), "key")
	check.OK(t, err)
	bk.Allow(s)
	var running sync.WaitGroup
	running.Go(func() {
		err := bk.Run(t.Context(), func(ctx context.Context, _ string, header map[string][]string) (net.Conn, error) {
			here, there := net.Pipe()
			running.Go(func() { remote.Serve(ctx, there, header, "client", &all) }) //nolint:errcheck // it ends with the other end
			return here, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		check.OK(t, bk.Close())
		running.Wait()
	})
	x, err := all.Wait(t.Context(), bk.ID())
	check.OK(t, err)
	return x
}

// taker is an arrival that wants all files.
type taker struct {
	open, most, whole, bytes int
}

func (*taker) Bytes(int) {}

func (a *taker) Entry(st *types.Stat) (io.WriteCloser, error) {
	if strings.Contains(st.Path, "refused") {
		return nil, fmt.Errorf("%s is refused", st.Path)
	}
	if fs.FileMode(st.Mode).IsDir() && st.Path != "wanted" {
		return nil, nil
	}
	return &taken{a: a}, nil
}

type taken struct {
	a     *taker
	begun bool
}

func (f *taken) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.a.open++
		f.a.most = max(f.a.most, f.a.open)
	}
	f.a.bytes += len(p)
	return len(p), nil
}

func (f *taken) Close() error {
	if f.begun {
		f.a.open--
	}
	f.a.whole++
	return nil
}

func stat(path string, mode fs.FileMode) *types.Packet {
	return &types.Packet{Type: types.PACKET_STAT, Stat: &types.Stat{Path: path, Mode: uint32(mode)}}
}

func data(id uint32, text string) *types.Packet {
	return &types.Packet{Type: types.PACKET_DATA, ID: id, Data: []byte(text)}
}

var last = &types.Packet{Type: types.PACKET_STAT}

// What breaks the protocol ends the sending, and the client is told.
func TestReceiveNonsense(t *testing.T) {
	for name, c := range map[string]struct {
		packets []*types.Packet
		wants   string
	}{
		"a file that nobody asked for":   {[]*types.Packet{stat("a", 0o644), data(1, "x")}, "file 1, which it was not asked for"},
		"more after the end":             {[]*types.Packet{stat("a", 0o644), data(0, "x"), data(0, ""), data(0, "y")}, "file 0, which it was not asked for"},
		"bytes of a folder":              {[]*types.Packet{stat("a", fs.ModeDir|0o755), data(0, "x")}, "was not asked for"},
		"bytes that are wanted of one":   {[]*types.Packet{stat("wanted", fs.ModeDir|0o755)}, "no regular file"},
		"a path after the last":          {[]*types.Packet{stat("a", 0o644), last, stat("b", 0o644)}, "after the last"},
		"the last path twice":            {[]*types.Packet{stat("a", 0o644), last, last}, "after the last"},
		"no order":                       {[]*types.Packet{stat("b", 0o644), stat("a", 0o644)}, "out of order"},
		"a path twice":                   {[]*types.Packet{stat("a", 0o644), stat("a", 0o644)}, "out of order"},
		"a path above":                   {[]*types.Packet{stat("../a", 0o644)}, "escape"},
		"an absolute path":               {[]*types.Packet{stat("/a", 0o644)}, "absolute"},
		"a path that is not clean":       {[]*types.Packet{stat("a/../b", 0o644)}, "unclean"},
		"a path below a file":            {[]*types.Packet{stat("a", 0o644), stat("a/b", 0o644)}, "out of order"},
		"a path that is refused":         {[]*types.Packet{stat("refused", 0o644)}, "refused is refused"},
		"an error":                       {[]*types.Packet{{Type: types.PACKET_ERR, Data: []byte("no such disk")}}, "no such disk"},
		"the end before the files":       {[]*types.Packet{stat("a", 0o644), last}, "before all was sent"},
		"the end before anything":        {nil, "before all was sent"},
		"something of another protocol":  {[]*types.Packet{{Type: 77}, {Type: types.PACKET_REQ, ID: 3}}, "before all was sent"},
		"the end that the receiver says": {[]*types.Packet{stat("a", 0o644), {Type: types.PACKET_FIN}}, "before all was sent"},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan string, 1)
			d, err := serve(t, func(stream filesync.FileSync_DiffCopyServer) error {
				for _, p := range c.packets {
					if err := stream.Send(p); err != nil {
						break
					}
				}
				if strings.Contains(c.wants, "before all") {
					told <- ""
					return nil
				}
				for {
					p, err := stream.Recv()
					if err != nil {
						told <- err.Error()
						return nil
					}
					if p.Type == types.PACKET_ERR {
						told <- string(p.Data)
						return nil
					}
				}
			}).Dir(t.Context(), "context")
			check.OK(t, err)
			err = d.Sync.From(t.Context(), session.SyncFilter{}, &taker{})
			check.Says(t, err, c.wants)
			if said := <-told; said != "" && !strings.Contains(said, c.wants) && !strings.Contains(strings.ToLower(said), "cancel") {
				t.Errorf("the client was told %q", said)
			}
		})
	}
}

// A client that begins as many files as it is asked for is not asked for all at once, and
// they all come.
func TestReceiveMany(t *testing.T) {
	const count = 5000
	d, err := serve(t, func(stream filesync.FileSync_DiffCopyServer) error {
		for i := range count {
			if err := stream.Send(stat(fmt.Sprintf("f%04d", i), 0o644)); err != nil {
				return err
			}
		}
		if err := stream.Send(last); err != nil {
			return err
		}
		var begun []uint32
		for {
			p, err := stream.Recv()
			if err != nil {
				return err
			}
			switch p.Type {
			case types.PACKET_REQ:
				begun = append(begun, p.ID)
				if err := stream.Send(data(p.ID, "text")); err != nil {
					return err
				}
			case types.PACKET_FIN:
				return stream.Send(p)
			}
			if len(begun) < 1000 {
				continue
			}
			for _, id := range begun {
				if err := stream.Send(data(id, "")); err != nil {
					return err
				}
			}
			begun = nil
		}
	}).Dir(t.Context(), "context")
	check.OK(t, err)
	var a taker
	check.OK(t, d.Sync.From(t.Context(), session.SyncFilter{}, &a))
	check.Equal(t, "files", fmt.Sprint(a.whole, a.open, a.bytes), fmt.Sprint(count, 0, 4*count))
	if a.most > 1000 {
		t.Errorf("%d files were open", a.most)
	}
}

// A build that ends while a client sends does not wait for it.
func TestReceiveIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d, err := serve(t, func(stream filesync.FileSync_DiffCopyServer) error {
		if err := stream.Send(stat("a", 0o644)); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil { // the request
			return err
		}
		cancel()
		<-stream.Context().Done()
		return nil
	}).Dir(t.Context(), "context")
	check.OK(t, err)
	check.Says(t, d.Sync.From(ctx, session.SyncFilter{}, &taker{}), "cancel")
}
