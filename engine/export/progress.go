package export

import (
	"context"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// step does something and shows it, by the words people know from BuildKit.
func step(ctx context.Context, what string, do func() error) error {
	p := solver.ProgressFrom(ctx)
	began := time.Now()
	st := client.VertexStatus{ID: what, Started: &began}
	p.Status(st)
	err := do()
	ended := time.Now()
	st.Completed = &ended
	p.Status(st)
	return err
}

// counter shows how many bytes of a step have been written. It is for one goroutine.
type counter struct {
	progress *solver.Progress
	status   client.VertexStatus
	shown    time.Time
}

func startCounter(ctx context.Context, what string) *counter {
	now := time.Now()
	c := &counter{progress: solver.ProgressFrom(ctx), shown: now}
	c.status = client.VertexStatus{ID: what, Name: "transferring", Started: &now}
	c.progress.Status(c.status)
	return c
}

func (c *counter) Write(p []byte) (int, error) {
	c.add(int64(len(p)))
	return len(p), nil
}

// add counts. It shows ten times a second at most, since reports are kept.
func (c *counter) add(n int64) {
	c.status.Current += n
	if now := time.Now(); now.Sub(c.shown) >= 100*time.Millisecond {
		c.shown = now
		c.progress.Status(c.status)
	}
}

// set says how many bytes have been written in all.
func (c *counter) set(n int) { c.add(int64(n) - c.status.Current) }

func (c *counter) done() {
	now := time.Now()
	c.status.Completed = &now
	c.progress.Status(c.status)
}

// warn shows a warning that a user should act on.
func warn(ctx context.Context, text string) {
	solver.ProgressFrom(ctx).Warn(client.VertexWarning{Level: 1, Short: []byte(text)})
}
