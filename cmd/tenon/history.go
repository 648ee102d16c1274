package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/why"
)

func (c *cli) historyCommand() *cobra.Command {
	cmd := c.listHistoryCommand("history [flags]")
	cmd.Short = "List the builds that were recorded, and look at them"
	cmd.Long = `List the builds that were recorded, and look at them.

A build is named by the beginning of its ID, or by a number: 1 is the last one, 2 the one
before. How many are kept is said by [history] in the configuration.`
	cmd.Args = knownCommand
	cmd.AddCommand(c.listHistoryCommand("ls [flags]"), c.showHistoryCommand(), c.logsHistoryCommand(), c.exportHistoryCommand(), c.removeHistoryCommand(), c.openHistoryCommand())
	return cmd
}

// historyRow is a build in a list.
type historyRow struct {
	ID       string
	Name     string
	Status   string
	Steps    string
	Created  string
	Duration string
}

func rowOf(past history.Reader, rec *controlapi.BuildHistoryRecord) historyRow {
	begun, ended := rec.CreatedAt.AsTime(), rec.CompletedAt.AsTime()
	row := historyRow{
		ID: rec.Ref, Name: nameOf(rec), Status: "completed", Created: since(begun), Duration: why.Seconds(ended.Sub(begun)),
		Steps: "-",
	}
	if h, err := past.Head(rec.Ref); err == nil {
		row.Steps = counts(h.Counts)
	}
	if rec.Error != nil {
		row.Status = "failed"
	}
	return row
}

// nameOf is what people call a build: its first tag, or its target and its Dockerfile.
func nameOf(rec *controlapi.BuildHistoryRecord) string {
	for _, x := range rec.Exporters {
		if name := x.GetAttrs()["name"]; name != "" {
			return name
		}
	}
	var parts []string
	for _, attr := range []string{"context", "filename", "target"} {
		if v := rec.FrontendAttrs[attr]; v != "" {
			parts = append(parts, v)
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, " ")
}

func (c *cli) listHistoryCommand(use string) *cobra.Command {
	var format string
	limit := 50
	cmd := &cobra.Command{
		Use:   use,
		Short: "List the builds that were recorded, the last one first",
		Args:  arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			past, err := c.past()
			if err != nil {
				return err
			}
			var rows []historyRow
			err = past.Each(cmd.Context(), func(rec *controlapi.BuildHistoryRecord) (bool, error) {
				rows = append(rows, rowOf(past, rec))
				return limit <= 0 || len(rows) < limit, nil
			})
			if err != nil {
				return err
			}
			return printRows(c.text(), format, rows, func(w io.Writer) error {
				fmt.Fprintln(w, "ID\tNAME\tSTATUS\tSTEPS\tCREATED\tDURATION")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", shortRef(r.ID), oneLine(r.Name, 60), r.Status, r.Steps, r.Created, r.Duration)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "\"json\" (one object a build), \"table TEMPLATE\" or a Go template")
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "how many builds are listed; 0 lists all")
	return cmd
}

// historyArgs is a command about one build; the last one if none is named.
func (c *cli) historyArgs(use, short string, do func(ctx context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: arguments(0, 1, "one build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			past, err := c.past()
			if err != nil {
				return err
			}
			rec, err := findBuild(cmd.Context(), past, append(args, "1")[0])
			if err != nil {
				return err
			}
			return do(cmd.Context(), past, rec)
		},
	}
}

// accountOf is what the steps of a build did.
func accountOf(past history.Reader, rec *controlapi.BuildHistoryRecord) (*why.Build, error) {
	b, err := past.Account(rec.Ref)
	if err != nil {
		return nil, fmt.Errorf("build %s: what its steps did is not kept: %w", rec.Ref, err)
	}
	return b, nil
}

func (c *cli) showHistoryCommand() *cobra.Command {
	asJSON := false
	cmd := c.historyArgs("show [flags] [BUILD]", "Show a build and its steps", func(_ context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) error {
		b, err := accountOf(past, rec)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.out, b)
		}
		return c.showBuild(past, rec, b)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON (docs/history.md)")
	return cmd
}

func (c *cli) showBuild(past history.Reader, rec *controlapi.BuildHistoryRecord, b *why.Build) error {
	row := rowOf(past, rec)
	return printRows(c.text(), "", []historyRow{row}, func(w io.Writer) error {
		fmt.Fprintf(w, "ID:\t%s\nName:\t%s\nStatus:\t%s\nBegun:\t%s\nDuration:\t%s\n", rec.Ref, row.Name, row.Status, b.Begun.Format(time.RFC3339), row.Duration)
		if b.Error != "" {
			fmt.Fprintf(w, "Error:\t%s\n", oneLine(b.Error, 300))
		}
		if b.Revision != "" {
			fmt.Fprintf(w, "Revision:\t%s\n", b.Revision)
		}
		fmt.Fprintln(w, "\nOUTCOME\tTIME\tLINE\tSTEP")
		for i := range b.Steps {
			s := &b.Steps[i]
			line := "-"
			if s.Place.Line > 0 {
				line = fmt.Sprint(s.Place.Line)
			}
			outcome := string(s.Outcome)
			if outcome == "" {
				outcome = "not needed"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", outcome, why.Seconds(s.Took()), line, oneLine(s.Name, 120))
		}
		return nil
	})
}

func (c *cli) logsHistoryCommand() *cobra.Command {
	return c.historyArgs("logs [BUILD]", "Show what a build has told while it ran", func(ctx context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) error {
		return c.replay(ctx, func(send func(*bkclient.SolveStatus)) error {
			return past.Log(ctx, rec, func(m *controlapi.StatusResponse) error {
				send(bkclient.NewSolveStatus(m))
				return nil
			})
		})
	})
}

func (c *cli) exportHistoryCommand() *cobra.Command {
	return c.historyArgs("export [BUILD]", "Write what is kept of a build to standard output, as JSON (docs/history.md)", func(_ context.Context, past history.Reader, rec *controlapi.BuildHistoryRecord) error {
		b, err := accountOf(past, rec)
		if err != nil {
			return err
		}
		return printJSON(c.out, b)
	})
}

func (c *cli) removeHistoryCommand() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "rm [flags] BUILD...", Short: "Remove records of builds", Args: arguments(0, many, "builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("tenon history rm takes builds, or --all")
			}
			return c.removeHistory(cmd.Context(), args, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all of them")
	return cmd
}

func (c *cli) removeHistory(ctx context.Context, names []string, all bool) error {
	past, err := c.past()
	if err != nil {
		return err
	}
	var refs []string
	if all {
		err = past.Each(ctx, func(rec *controlapi.BuildHistoryRecord) (bool, error) {
			refs = append(refs, rec.Ref)
			return true, nil
		})
	}
	for _, name := range names {
		rec, ferr := findBuild(ctx, past, name)
		if err = errors.Join(err, ferr); ferr == nil {
			refs = append(refs, rec.Ref)
		}
	}
	if err != nil {
		return err
	}
	return c.work(ctx, func(w worker) error {
		drop, end, err := w.historian()
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if err := drop(ctx, ref); err != nil {
				return err
			}
			fmt.Fprintln(c.text(), ref)
		}
		return end()
	})
}

// historian is what removes records: that of the root, or a daemon.
func (w worker) historian() (drop func(context.Context, string) error, end func() error, err error) {
	if w.daemon != nil {
		return w.daemon.DeleteRecord, func() error { return nil }, nil
	}
	h, err := history.Open(engine.History(w.engine.Store().Root()), history.DefaultLimits)
	if err != nil {
		return nil, nil, err
	}
	return func(_ context.Context, ref string) error { return h.Delete(ref) }, h.Sweep, nil
}

// replay shows on standard output what each sends, as progress is shown without a terminal.
func (c *cli) replay(ctx context.Context, each func(send func(*bkclient.SolveStatus)) error) error {
	d, err := progress.NewPlain(c.out)
	if err != nil {
		return err
	}
	ch := make(chan *bkclient.SolveStatus)
	var shown errgroup.Group
	shown.Go(func() error {
		_, err := d.UpdateFrom(context.WithoutCancel(ctx), ch)
		return err
	})
	err = each(func(st *bkclient.SolveStatus) { ch <- st })
	close(ch)
	return errors.Join(err, shown.Wait())
}
