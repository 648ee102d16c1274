package execop

import (
	"context"
	"syscall"

	"github.com/moby/buildkit/executor"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
)

// process is one that runs in a container. The executor reads its channels until it has
// ended; they are never closed, since who writes to them looks at ended.
type process struct {
	resize chan executor.WinSize
	signal chan syscall.Signal
	ended  chan struct{} // closed when err is what it ended with
	err    error
}

var _ gwclient.ContainerProcess = (*process)(nil)

func newProcess() *process {
	return &process{resize: make(chan executor.WinSize), signal: make(chan syscall.Signal), ended: make(chan struct{})}
}

// Wait returns when the process has ended.
func (p *process) Wait() error {
	<-p.ended
	return p.err
}

// Resize tells the size of the terminal. It does nothing when the process has ended.
func (p *process) Resize(ctx context.Context, size gwclient.WinSize) error {
	return tell(ctx, p, p.resize, executor.WinSize{Rows: size.Rows, Cols: size.Cols})
}

// Signal sends a signal. It does nothing when the process has ended.
func (p *process) Signal(ctx context.Context, sig syscall.Signal) error {
	return tell(ctx, p, p.signal, sig)
}

func tell[T any](ctx context.Context, p *process, to chan<- T, what T) error {
	select {
	case to <- what:
		return nil
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
