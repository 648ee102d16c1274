package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/store"
)

func (c *cli) duCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "du [flags]",
		Short: "Show what is kept, and how much room it takes",
		Long: `Show the records that builds have left: what steps resulted in, layers of base
images, local contexts, cache mounts, git repositories. Builds load them instead of running again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return c.with(ctx, func(e *engine.Engine) error { return c.du(ctx, e, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one object a record")
	return cmd
}

func (c *cli) du(ctx context.Context, e *engine.Engine, asJSON bool) error {
	list, err := e.Store().Du(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b store.UsageInfo) int {
		if a.Size != b.Size {
			return int(max(-1, min(1, b.Size-a.Size)))
		}
		return strings.Compare(a.ID, b.ID)
	})
	if asJSON {
		enc := json.NewEncoder(c.out)
		for _, u := range list {
			if err := enc.Encode(u); err != nil {
				return err
			}
		}
		return nil
	}
	var total int64
	w := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tTYPE\tSIZE\tLAST USED\tDESCRIPTION")
	for _, u := range list {
		total += u.Size
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", short(u.ID), u.Type, units.HumanSize(float64(u.Size)), since(u.LastUsedAt), oneLine(u.Description, 80))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "total: %s in %d records\n", units.HumanSize(float64(total)), len(list))
	return nil
}

// oneLine cuts a text to at most n characters of one line.
func oneLine(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func (c *cli) pruneCommand() *cobra.Command {
	var all, dryRun bool
	var filters []string
	var reserved, most, free string
	var keep time.Duration
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove what builds have left, to make room",
		Long: `Remove records that no build uses, the least recently used first. What an image
in the store needs stays: see tenon images rm.

Without limits all is removed that can be made again, but not what is internal
or shared with an image (--all removes that, too).`,
		Example: `  tenon prune --max-used-space 10gb          down to 10 GB, if there is more
  tenon prune --keep-duration 168h           what was not used for a week
  tenon prune --filter type==exec.cachemount`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt := store.PruneOptions{All: all, Filters: filters, KeepDuration: keep, DryRun: dryRun}
			for _, f := range []struct {
				flag, text string
				to         *int64
			}{
				{"reserved-space", reserved, &opt.ReservedSpace},
				{"max-used-space", most, &opt.MaxUsedSpace},
				{"min-free-space", free, &opt.MinFreeSpace},
			} {
				if f.text == "" {
					continue
				}
				n, err := units.FromHumanSize(f.text)
				if err != nil {
					return fmt.Errorf("--%s %q: %w", f.flag, f.text, err)
				}
				*f.to = n
			}
			ctx := cmd.Context()
			return c.with(ctx, func(e *engine.Engine) error { return c.prune(ctx, e, opt) })
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "also what is internal or shared with an image")
	fs.StringArrayVar(&filters, "filter", nil, "only what matches, as in \"type==exec.cachemount\" or \"description~=npm\"; with several, what matches one of them")
	fs.DurationVar(&keep, "keep-duration", 0, "keep what was used since so long, as in \"24h\"")
	fs.StringVar(&reserved, "reserved-space", "", "room that is kept in any case, as in \"5gb\"")
	fs.StringVar(&most, "max-used-space", "", "the most room that is kept")
	fs.StringVar(&free, "min-free-space", "", "room that should be free on the disk")
	fs.BoolVar(&dryRun, "dry-run", false, "show what would be removed")
	return cmd
}

func (c *cli) prune(ctx context.Context, e *engine.Engine, opt store.PruneOptions) error {
	var total int64
	n := 0
	err := e.Store().Prune(ctx, opt, func(u store.UsageInfo) {
		total += u.Size
		n++
		fmt.Fprintf(c.out, "%s  %s  %s\n", short(u.ID), units.HumanSize(float64(u.Size)), oneLine(u.Description, 80))
	})
	verb := "freed"
	if opt.DryRun {
		verb = "would free"
	}
	fmt.Fprintf(c.out, "%s %s in %d records\n", verb, units.HumanSize(float64(total)), n)
	return err
}
