package progress

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/containerd/console"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tenonbuild/tenon/solver/client"
	"golang.org/x/sync/errgroup"
)

// Mode is how progress is shown.
type Mode string

// The modes, by the names they have for docker build.
const (
	Auto    Mode = "auto" // TTY on a terminal, else Plain
	TTY     Mode = "tty"  // redrawn in place
	Plain   Mode = "plain"
	Quiet   Mode = "quiet"   // nothing
	RawJSON Mode = "rawjson" // one message a line: BuildKit's, with each vertex's outcome
)

// ParseMode reads a --progress flag. "" is Auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Auto, nil
	case Auto, TTY, Plain, Quiet, RawJSON:
		return m, nil
	}
	return "", fmt.Errorf("progress %q is unknown: it is one of auto, tty, plain, quiet, rawjson", s)
}

// Options are how Display shows a build.
type Options struct {
	Mode Mode // "" is Auto
	// Tail, if not nil, is told what steps log.
	Tail *Tail
}

// Display shows a build on out until ch is closed, and returns its warnings. When
// ctx ends it returns at once, with the context's cause and without a last look:
// to show how a build is cancelled, let the status stream end and keep ctx. TTY is
// an error if out is no terminal.
func Display(ctx context.Context, out io.Writer, opt Options, ch <-chan *client.SolveStatus) ([]bkclient.VertexWarning, error) {
	conv := &Converter{Begin: time.Now()}
	if opt.Mode == RawJSON {
		return rawJSON(ctx, out, conv, opt.Tail, ch)
	}
	mode := progressui.DisplayMode(opt.Mode)
	conv.InName = (opt.Mode == Auto || opt.Mode == "" || opt.Mode == TTY) && isTerminal(out)
	display, err := progressui.NewDisplay(out, mode)
	if err != nil {
		return nil, fmt.Errorf("progress %s: %w", opt.Mode, err)
	}
	var warnings []bkclient.VertexWarning
	converted := make(chan *bkclient.SolveStatus)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(converted)
		return each(gctx, ch, func(st *client.SolveStatus) error {
			opt.Tail.Add(st)
			select {
			case converted <- conv.Convert(st):
				return nil
			case <-gctx.Done():
				return context.Cause(gctx)
			}
		})
	})
	g.Go(func() error {
		// Not gctx: that ends when the other one is done.
		w, err := display.UpdateFrom(ctx, converted)
		warnings = w
		return err
	})
	err = g.Wait()
	return warnings, err
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
func rawJSON(ctx context.Context, out io.Writer, conv *Converter, tail *Tail, ch <-chan *client.SolveStatus) ([]bkclient.VertexWarning, error) {
	var warnings []bkclient.VertexWarning
	enc := json.NewEncoder(out)
	err := each(ctx, ch, func(st *client.SolveStatus) error {
		tail.Add(st)
		msg := rawStatus{}
		for _, v := range st.Vertexes {
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
