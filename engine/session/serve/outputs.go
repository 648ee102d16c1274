package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	bksession "github.com/moby/buildkit/session"
)

// Output is a place that the daemon writes one of the build's outputs to: a file or a
// directory.
type Output struct {
	// Open makes a file. It gets what the exporter has said so far. The writer may have a
	// Discard, which is called instead of Close where the file has not come whole.
	Open func(ctx context.Context, response map[string]string) (io.WriteCloser, error)
	// Dir is a directory. It is made if need be, with what Umask leaves of its mode.
	Dir   string
	Umask os.FileMode
	// Mirror takes away what the result does not have.
	Mirror bool
	// Privileged keeps setuid and setgid bits, capabilities and devices.
	Privileged bool
}

// The protocol's metadata.
const (
	headerOutput   = "buildkit-attachable-exporter-id"
	headerMirror   = "buildkit-exporter-multi-platform"
	headerResponse = "exporter-md-"
)

// AttachOutputs has the daemon write the outputs, by their numbers.
func AttachOutputs(to *bksession.Session, outs map[int]Output) {
	to.Allow(attachable(func(g *grpc.Server) { filesync.RegisterFileSendServer(g, &receiver{outs: outs}) }))
}

type receiver struct {
	filesync.UnimplementedFileSendServer
	outs map[int]Output
}

// DiffCopy implements filesync.FileSendServer: it receives a file, or the files of a
// directory.
func (r *receiver) DiffCopy(stream filesync.FileSend_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	n := 0
	if v := md.Get(headerOutput); len(v) > 0 {
		var err error
		if n, err = strconv.Atoi(v[0]); err != nil {
			return status.Errorf(codes.InvalidArgument, "output %q: it should be a number", v[0])
		}
	}
	out, ok := r.outs[n]
	switch {
	case !ok:
		return status.Errorf(codes.NotFound, "there is no output %d", n)
	case out.Dir == "":
		return receiveFile(stream, md, out)
	case out.Mirror && len(md.Get(headerMirror)) == 0:
		return status.Error(codes.FailedPrecondition, "the daemon does not know mode=delete")
	}
	return receiveDir(stream, out)
}

func receiveFile(stream filesync.FileSend_DiffCopyServer, md metadata.MD, out Output) (err error) {
	said := map[string]string{}
	for k, v := range md {
		if key, ok := strings.CutPrefix(k, headerResponse); ok {
			said[key] = strings.Join(v, ",")
		}
	}
	w, err := out.Open(stream.Context(), said)
	if err != nil {
		return err
	}
	var m filesync.BytesMessage
	for {
		m.Data = m.Data[:0]
		switch err := stream.RecvMsg(&m); {
		case errors.Is(err, io.EOF):
			return w.Close()
		case err != nil:
			return errors.Join(err, discard(w))
		}
		if _, err := w.Write(m.Data); err != nil {
			return errors.Join(err, discard(w))
		}
	}
}

func discard(w io.WriteCloser) error {
	if d, ok := w.(interface{ Discard() error }); ok {
		return d.Discard()
	}
	return w.Close()
}

// receiveDir writes files that belong to who runs this process. The daemon may be anybody's:
// nothing is written outside of the directory.
func receiveDir(stream filesync.FileSend_DiffCopyServer, out Output) (err error) {
	if err := os.MkdirAll(out.Dir, 0o777&^out.Umask); err != nil {
		return err
	}
	top, err := os.OpenRoot(out.Dir)
	if err != nil {
		return err
	}
	root := fsutil.NewRoot(top)
	defer func() { err = errors.Join(err, root.Close()) }()
	o := &owner{privileged: out.Privileged, omitted: map[string]bool{}}
	opt := fsutil.ReceiveOpt{Merge: !out.Mirror, Filter: o.keep}
	if out.Mirror {
		opt.Differ = fsutil.DiffNone
	}
	if err := fsutil.ReceiveRoot(stream.Context(), stream, root, opt); err != nil {
		return fmt.Errorf("output %s: %w", out.Dir, err)
	}
	return nil
}

// owner makes files this user's. It is for one transfer, in the order of its files.
type owner struct {
	privileged bool
	omitted    map[string]bool // devices, which hard links name
}

// keep reports whether a file is to be written. A program that runs as its owner never
// becomes one that runs as whoever writes it.
func (o *owner) keep(path string, st *types.Stat) bool {
	mode := os.FileMode(st.Mode)
	if !o.privileged {
		if mode&os.ModeDevice != 0 || mode&os.ModeSymlink == 0 && o.omitted[st.Linkname] {
			o.omitted[path] = true
			return false
		}
		for k := range st.Xattrs {
			if !strings.HasPrefix(k, "user.") { // capabilities, lists of users who have access
				delete(st.Xattrs, k)
			}
		}
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if !o.privileged || st.Uid != uid {
		mode &^= os.ModeSetuid
	}
	if !o.privileged || st.Gid != gid {
		mode &^= os.ModeSetgid
	}
	st.Mode, st.Uid, st.Gid = uint32(mode), uid, gid
	return true
}
