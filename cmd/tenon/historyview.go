package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/engine/why/view"
)

func (c *cli) openHistoryCommand() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use:   "open [-o FILE] [BUILD] [BUILD]",
		Short: "Make a page of HTML of a build, or of two side by side, and open it",
		Long: `Make a page of HTML of a build, or of two side by side: why steps ran, when they ran and
which chain of them took longest, what each was told, and its log. The page has all of it
and asks nobody for anything. Without -o it is a file in the folder for temporary files,
which is opened where there is a display.`,
		Args: arguments(0, 2, "one build or two"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"1"}
			}
			return c.openHistory(cmd.Context(), args, file)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write this file, \"-\" for standard output, and open nothing")
	return cmd
}

func (c *cli) openHistory(ctx context.Context, names []string, file string) error {
	past, err := c.past()
	if err != nil {
		return err
	}
	var builds []view.Build
	for _, name := range names {
		b, rec, err := viewed(ctx, past, name)
		if err != nil {
			return err
		}
		if b.Logs, err = logsOf(ctx, past, rec); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			fmt.Fprintf(c.err, "The page lacks some of what was written: %v\n", err)
		}
		builds = append(builds, b)
	}
	write := func(w io.Writer) error { return view.Page(w, builds...) }
	switch file {
	case "-":
		return write(c.out)
	case "":
		return c.openPage(write)
	}
	return export.WriteFile(ctx, file, os.FileMode(c.umask), write)
}

// viewed is a build that is to be shown.
func viewed(ctx context.Context, past history.Reader, name string) (view.Build, *controlapi.BuildHistoryRecord, error) {
	rec, err := findBuild(ctx, past, name)
	if err != nil {
		return view.Build{}, nil, err
	}
	b, err := accountOf(past, rec)
	if err != nil {
		return view.Build{}, nil, err
	}
	earlier, err := past.Earlier(ctx, b, comparedBuilds, lookedBuilds)
	if err != nil {
		return view.Build{}, nil, err
	}
	return view.Build{Build: b, Explainer: past.Explainer(ctx, b, earlier)}, rec, nil
}

// logsOf are the logs of a build; with an error, those that could be read.
func logsOf(ctx context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) (*view.Logs, error) {
	logs := &view.Logs{}
	err := past.Log(ctx, rec, func(m *controlapi.StatusResponse) error {
		for _, l := range m.Logs {
			logs.Add(digest.Digest(l.Vertex), l.Msg)
		}
		return context.Cause(ctx)
	})
	if err != nil {
		return logs, fmt.Errorf("the log of build %s: %w", rec.Ref, err)
	}
	return logs, nil
}

// openPage writes a page that only its user may read, says where it is, and opens it if somebody
// can see it.
func (c *cli) openPage(write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp("", "tenon-*.html")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintln(c.text(), f.Name())
	for _, display := range []string{"DISPLAY", "WAYLAND_DISPLAY"} {
		if v, _ := c.env(display); v != "" {
			return c.show(f.Name())
		}
	}
	return nil
}

// show has a file opened, if there is a program that does. Nothing waits for it: it may be the
// browser itself, which is to stay when tenon ends.
func (c *cli) show(file string) error {
	opener, err := exec.LookPath("xdg-open")
	if err != nil {
		return nil // the path is said
	}
	cmd := exec.Command(opener, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(c.err, "It could not be opened: %v\n", err)
		return nil
	}
	return cmd.Process.Release()
}

func (c *cli) graphCommand() *cobra.Command {
	format := ""
	cmd := c.historyArgs("graph [flags] [BUILD]", "Write the graph of a build to standard output, for Graphviz or as a picture", func(_ context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) error {
		draw, known := map[string]func(io.Writer, *why.Build) error{"dot": view.Dot, "svg": view.SVG}[format]
		if !known {
			return fmt.Errorf("--format %s is not known: dot (for Graphviz) and svg are", format)
		}
		b, err := accountOf(past, rec)
		if err != nil {
			return err
		}
		return draw(c.out, b)
	})
	cmd.Flags().StringVar(&format, "format", "dot", "dot (for Graphviz) or svg")
	return cmd
}

func (c *cli) traceCommand() *cobra.Command {
	return c.historyArgs("trace [BUILD]", "Write when the steps of a build ran to standard output, for Perfetto or Chrome", func(ctx context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) error {
		b, _, err := viewed(ctx, past, rec.Ref)
		if err != nil {
			return err
		}
		return view.Trace(c.out, b)
	})
}
