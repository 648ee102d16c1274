package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc/codes"
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
	var opts []filesync.CopyToCallerOpt
	if mirror {
		opts = append(opts, filesync.WithExporterMultiPlatformTransfer())
	}
	err := filesync.CopyToCaller(ctx, files, n, s.caller, func(n int, _ bool) { sent(n) }, opts...)
	return outputError(n, err)
}

// Store is the content store that the caller has for outputs that are layouts. BuildKit's
// protocol has one for all of them.
func (s *Session) Store() content.Store { return sessioncontent.NewCallerStore(s.caller, "export") }

func outputError(n int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the client's output %d: %w", n, err)
}
