package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// File opens the file of the caller's output number n. It is a Discarder, as exporters
// want it; what is discarded fails at the caller.
func (s *Session) File(ctx context.Context, n int, md map[string]string) (io.WriteCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w, err := filesync.CopyFileWriter(ctx, md, n, s.caller)
	if err != nil {
		cancel(err)
		return nil, outputError(n, err)
	}
	return &file{w: w, n: n, cancel: cancel}, nil
}

// file is a file at the caller.
type file struct {
	w      io.WriteCloser
	n      int
	cancel context.CancelCauseFunc
	// has says that the caller has it already, and takes nothing.
	has bool
}

// Write implements io.Writer.
func (f *file) Write(p []byte) (int, error) {
	if f.has {
		return len(p), nil
	}
	n, err := f.w.Write(p)
	if f.has = grpcerrors.Code(err) == codes.AlreadyExists; f.has {
		return len(p), nil
	}
	return n, outputError(f.n, err)
}

// Close ends the file, and waits until the caller has it.
func (f *file) Close() error {
	defer f.cancel(nil)
	err := f.w.Close()
	if f.has || grpcerrors.Code(err) == codes.AlreadyExists {
		return nil
	}
	return outputError(f.n, err)
}

// Discard breaks the file off.
func (f *file) Discard() error {
	f.cancel(errors.New("the output was given up"))
	return nil
}

// Send sends files to the directory of the caller's output number n. With mirror, the
// directory is to have nothing else afterwards. Sent is told how many bytes have gone.
func (s *Session) Send(ctx context.Context, n int, files fsutil.FS, mirror bool, sent func(int)) error {
	method := session.MethodURL(filesync.FileSend_ServiceDesc.ServiceName, "diffcopy")
	if !s.caller.Supports(method) {
		return outputError(n, fmt.Errorf("the client does not take files: it does not have %s", method))
	}
	ctx = metadata.AppendToOutgoingContext(s.caller.Context(ctx), headerOutput, strconv.Itoa(n))
	if mirror {
		ctx = metadata.AppendToOutgoingContext(ctx, headerMirror, "1")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := filesync.NewFileSendClient(s.caller.Conn()).DiffCopy(ctx)
	if err != nil {
		return outputError(n, err)
	}
	err = fsutil.Send(ctx, stream, files, func(n int, _ bool) { sent(n) })
	return outputError(n, whyEnded(stream, err))
}

// whyEnded is what the other side of a stream has ended it with, where all that sending
// said is that it has ended. Nobody receives from the stream any more.
func whyEnded(stream grpc.ClientStream, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		var p types.Packet
		switch why := stream.RecvMsg(&p); {
		case errors.Is(why, io.EOF):
			return err
		case why != nil:
			return why
		}
	}
}

// The headers by which a stream says for which output it is, and that the directory is to
// have nothing else.
const (
	headerOutput = "buildkit-attachable-exporter-id"
	headerMirror = "buildkit-exporter-multi-platform"
)

// Store is the content store that the caller has for outputs that are layouts. BuildKit's
// protocol has one for all of them.
func (s *Session) Store() content.Store { return sessioncontent.NewCallerStore(s.caller, "export") }

func outputError(n int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the client's output %d: %w", n, err)
}
