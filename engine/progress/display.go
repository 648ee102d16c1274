package progress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/console"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tenonbuild/tenon/solver/client"
	"golang.org/x/sync/errgroup"
)

// The modes, by the names they have for docker build.
const (
	Auto    = "auto" // TTY on a terminal, else Plain; "" is the same
	TTY     = "tty"  // redrawn in place
	Plain   = "plain"
	Quiet   = "quiet"   // nothing
	RawJSON = "rawjson" // one message a line: BuildKit's, with each vertex's outcome
)

// CheckMode refuses what is no mode.
func CheckMode(mode string) error {
	switch mode {
	case "", Auto, TTY, Plain, Quiet, RawJSON:
		return nil
	}
	return fmt.Errorf("%q is unknown: it is one of auto, tty, plain, quiet, none, rawjson", mode)
}

// Observer is told the messages of a status stream, in order.
type Observer interface {
	Add(st *client.SolveStatus)
}

// Display shows a build on out until ch is closed, and returns its warnings. It
// reads ch to its end also when it fails, so that nobody waits for it; only the
// end of ctx stops it at once, with the context's cause and without a last look.
// So to show how a build is cancelled, let the status stream end and keep ctx.
// What names and errors have of control characters is shown as text; what a step writes
// is its own, and is shown as it is, colors and all, as docker shows it.
// TTY is an error if out is no terminal. Each of also is told what comes, before it is shown.
func Display(ctx context.Context, out io.Writer, mode string, ch <-chan *client.SolveStatus, also ...Observer) ([]bkclient.VertexWarning, error) {
	warnings, err := display(ctx, out, mode, ch, also)
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, each(ctx, ch, func(*client.SolveStatus) error { return nil }))
	}
	return warnings, err
}

func display(ctx context.Context, out io.Writer, mode string, ch <-chan *client.SolveStatus, also []Observer) ([]bkclient.VertexWarning, error) {
	if err := CheckMode(mode); err != nil {
		return nil, fmt.Errorf("progress: %w", err)
	}
	conv := &Converter{Begin: time.Now()}
	if mode == RawJSON {
		return rawJSON(ctx, out, conv, ch, also)
	}
	conv.InName = (mode == Auto || mode == "" || mode == TTY) && isTerminal(out)
	if !conv.InName && mode != TTY {
		out = words{out}
	}
	display, err := progressui.NewDisplay(out, progressui.DisplayMode(mode))
	if err != nil {
		return nil, fmt.Errorf("progress %s: %w", mode, err)
	}
	var warnings []bkclient.VertexWarning
	converted := make(chan *bkclient.SolveStatus)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(converted)
		return each(gctx, ch, func(st *client.SolveStatus) error {
			tell(also, st)
			out := conv.Convert(st)
			// Whether progressui shows a warning depends on when it comes. They are the
			// caller's to show, when all is done.
			for _, w := range out.Warnings {
				warnings = append(warnings, *w)
			}
			out.Warnings = nil
			for _, v := range out.Vertexes {
				v.Error = Bounded(v.Error)
			}
			select {
			case converted <- out:
				return nil
			case <-gctx.Done():
				return context.Cause(gctx)
			}
		})
	})
	g.Go(func() error {
		// Not gctx: that ends when the other one fails, and then converted is closed.
		_, err := display.UpdateFrom(ctx, converted)
		return err
	})
	err = g.Wait()
	return warnings, err
}

func tell(also []Observer, st *client.SolveStatus) {
	for _, t := range also {
		t.Add(st)
	}
}

// each calls fn for what comes from ch until that is closed.
func each(ctx context.Context, ch <-chan *client.SolveStatus, fn func(*client.SolveStatus) error) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case st, ok := <-ch:
			if !ok {
				return nil
			}
			if st == nil {
				continue
			}
			if err := fn(st); err != nil {
				return err
			}
		}
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(console.File)
	if !ok {
		return false
	}
	_, err := console.ConsoleFromFile(f)
	return err == nil
}

// rawVertex is a vertex with what only Tenon tells.
type rawVertex struct {
	*bkclient.Vertex
	Outcome client.Outcome `json:"outcome,omitempty"`
}

// rawStatus has the fields of BuildKit's SolveStatus.
type rawStatus struct {
	Vertexes []rawVertex               `json:"vertexes,omitempty"`
	Statuses []*bkclient.VertexStatus  `json:"statuses,omitempty"`
	Logs     []*bkclient.VertexLog     `json:"logs,omitempty"`
	Warnings []*bkclient.VertexWarning `json:"warnings,omitempty"`
}

// rawJSON writes what the solver tells, with nothing added or left out.
func rawJSON(ctx context.Context, out io.Writer, conv *Converter, ch <-chan *client.SolveStatus, also []Observer) ([]bkclient.VertexWarning, error) {
	var warnings []bkclient.VertexWarning
	enc := json.NewEncoder(out)
	err := each(ctx, ch, func(st *client.SolveStatus) error {
		tell(also, st)
		msg := rawStatus{}
		for _, v := range st.Vertexes {
			if v == nil {
				continue
			}
			msg.Vertexes = append(msg.Vertexes, rawVertex{Vertex: conv.plain(v), Outcome: v.Outcome})
		}
		rest := (&Converter{}).Convert(&client.SolveStatus{Statuses: st.Statuses, Logs: st.Logs, Warnings: st.Warnings})
		msg.Statuses, msg.Logs, msg.Warnings = rest.Statuses, rest.Logs, rest.Warnings
		for _, w := range rest.Warnings {
			warnings = append(warnings, *w)
		}
		if err := enc.Encode(msg); err != nil {
			return fmt.Errorf("writing progress: %w", err)
		}
		return nil
	})
	return warnings, err
}
