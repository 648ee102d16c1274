package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/store"
)

// duFlags are those of du, as buildx has them.
type duFlags struct {
	filters []string
	format  string
	json    bool
	verbose bool
}

func (c *cli) duCommand() *cobra.Command {
	f := &duFlags{}
	cmd := &cobra.Command{
		Use:   "du [flags]",
		Short: "Show what is kept, and how much room it takes",
		Long: `Show the records that builds have left: what steps resulted in, layers of base
images, local contexts, cache mounts, git repositories, images that have lost
their tag. Builds load them instead of running again.

What images with a tag hold is summed up below: see tenon images. The total is
what the folder of all state takes on its disk.`,
		Example: `  tenon du --filter type=exec.cachemount
  tenon du --format json
  tenon du --format '{{.ID}} {{.Size}}'`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return c.read(ctx, func(r query.Reader) error {
				u, err := r.Usage(ctx)
				if err != nil {
					return err
				}
				if err := c.du(u, f); err != nil || f.format != "" || len(f.filters) > 0 {
					return err
				}
				return c.duHistory(ctx)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.filters, "filter", nil, "only what matches, as in \"type=source.local\", \"id=abc\", \"shared=true\" or \"description~=npm\"")
	fs.StringVar(&f.format, "format", "", "\"json\" (one object a record), \"table TEMPLATE\" or a Go template")
	fs.BoolVar(&f.json, "json", false, "as --format json")
	fs.BoolVar(&f.verbose, "verbose", false, "all that is known of each record")
	return cmd
}

func (c *cli) du(u *store.Usage, f *duFlags) error {
	if err := store.CheckFilters(f.filters); err != nil {
		return err
	}
	match, err := store.UsageFilter(f.filters)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(u.Records), func(r store.UsageInfo) bool { return !match(r) })
	slices.SortFunc(list, func(a, b store.UsageInfo) int {
		if a.Size != b.Size {
			return int(max(-1, min(1, b.Size-a.Size)))
		}
		return strings.Compare(a.ID, b.ID)
	})
	if f.json {
		f.format = "json"
	}
	var total int64
	for _, r := range list {
		total += r.Size
	}
	err = printRows(c.text(), f.format, list, func(w io.Writer) error {
		if f.verbose {
			for _, r := range list {
				printRecord(w, r)
			}
			return nil
		}
		room := c.roomAfter(list)
		fmt.Fprintln(w, strings.Join(append(slices.Clone(duHead), "DESCRIPTION"), "\t"))
		for _, r := range list {
			fmt.Fprintln(w, strings.Join(append(duColumns(r), oneLine(r.Description, room)), "\t"))
		}
		return nil
	})
	if err != nil || f.format != "" {
		return err
	}
	if len(f.filters) > 0 {
		fmt.Fprintf(c.text(), "total: %s in %s that match\n", size(total), records(len(list)))
		return nil
	}
	fmt.Fprintf(c.text(), "records: %s in %s\n", size(total), records(len(list)))
	fmt.Fprintf(c.text(), "images: %s in %s, %s of it in no record\n", size(u.ImagesSize), counted(u.Images, "image"), size(u.ImagesUnique))
	fmt.Fprintf(c.text(), "other: %s, databases and what is being made\n", size(u.Other))
	if said := capOf(u.Cap); said != "" {
		fmt.Fprintf(c.text(), "cap: %s (see [gc] in the configuration)\n", said)
	}
	fmt.Fprintf(c.text(), "total: %s, of which tenon prune --all can free %s\n", size(u.Total), size(u.Reclaimable))
	return nil
}

// duHistory says how much of what du calls other the history takes.
func (c *cli) duHistory(ctx context.Context) error {
	past, err := c.past()
	if err != nil {
		return nil // it is elsewhere
	}
	bytes, builds, err := past.Size(ctx)
	if err != nil || builds == 0 {
		return err
	}
	fmt.Fprintf(c.text(), "history: %s of other, in %s: see tenon history rm\n", size(bytes), counted(builds, "build"))
	return nil
}

var duHead = []string{"ID", "TYPE", "SIZE", "LAST USED"}

// duColumns are what du shows of a record before its description.
func duColumns(r store.UsageInfo) []string {
	return []string{shortID(r), string(r.Type), size(r.Size), since(r.LastUsedAt)}
}

// roomAfter is how long a description may be: what a terminal has left in a line.
func (c *cli) roomAfter(list []store.UsageInfo) int {
	width := terminalWidth(c.out)
	if width == 0 {
		return 80
	}
	widest := make([]int, len(duHead))
	widen := func(columns []string) {
		for i, text := range columns {
			widest[i] = max(widest[i], len(text)+columnGap)
		}
	}
	widen(duHead)
	for _, r := range list {
		widen(duColumns(r))
	}
	for _, w := range widest {
		width -= w
	}
	return max(width, 10)
}

// capOf says what is kept by itself at most, in words.
func capOf(p store.PruneOptions) string {
	var said []string
	if p.MaxUsedSpace > 0 {
		said = append(said, "records are kept up to "+size(p.MaxUsedSpace))
	}
	if p.MinFreeSpace > 0 {
		said = append(said, size(p.MinFreeSpace)+" of the disk should stay free")
	}
	if p.ReservedSpace > 0 && len(said) > 0 {
		said = append(said, size(p.ReservedSpace)+" are kept in any case")
	}
	return strings.Join(said, ", ")
}

func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

func records(n int) string { return counted(n, "record") }

func size(n int64) string { return units.HumanSize(float64(n)) }

// shortID is the beginning of a record's ID, or all of one that is a name.
func shortID(r store.UsageInfo) string {
	switch r.Type {
	case store.TypeGitRepo, store.TypeHTTPNotes, store.TypeImage:
		name, id, _ := strings.Cut(r.ID, "-")
		return name + "-" + short(id)
	}
	return short(r.ID)
}

// printRecord prints all that is known of a record.
func printRecord(w io.Writer, r store.UsageInfo) {
	line := func(name string, value any) { fmt.Fprintf(w, "%s:\t%v\n", name, value) }
	line("ID", r.ID)
	if len(r.Parents) > 0 {
		line("Parents", strings.Join(r.Parents, ", "))
	}
	line("Created at", r.CreatedAt.Local().Format(time.DateTime))
	line("Mutable", r.Mutable)
	line("Reclaimable", !r.InUse)
	line("Shared", r.Shared)
	line("Size", size(r.Size))
	line("Description", oneLine(r.Description, 1000))
	line("Usage count", r.UsageCount)
	line("Last used", since(r.LastUsedAt))
	line("Type", r.Type)
	fmt.Fprintln(w)
}

// oneLine cuts a text to at most n characters of one line.
func oneLine(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// pruneFlags are those of prune, as docker builder prune and buildx prune have them.
type pruneFlags struct {
	opt                  store.PruneOptions
	filters              []string
	keep                 time.Duration
	reserved, most, free string
	force, verbose       bool
}

func (c *cli) pruneCommand() *cobra.Command {
	f := &pruneFlags{}
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove what builds have left, to make room",
		Long: `Remove records that no build uses, the least recently used first, and images that
have lost their tag. What an image with a tag needs stays: see tenon images rm.

Without limits all is removed that can be made again, but not what is internal
or shared with an image (--all removes that, too). At a terminal it asks first,
unless --force is given.`,
		Example: `  tenon prune --max-used-space 10gb            down to 10 GB, if there is more
  tenon prune -f --filter until=168h           what was not used for a week
  tenon prune --filter type=exec.cachemount    cache mounts`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.settle(); err != nil {
				return err
			}
			f.opt.By = "tenon " + strings.Join(c.args, " ")
			ctx := cmd.Context()
			if ok, err := c.confirm("This removes what builds have left, and can be made again.", f.force || f.opt.DryRun); !ok {
				return err
			}
			return c.work(ctx, func(w worker) error { return c.prune(ctx, w.pruner(), f) })
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.opt.All, "all", "a", false, "also what is internal or shared with an image")
	fs.StringArrayVar(&f.filters, "filter", nil, "only what matches, as in \"until=24h\", \"type=source.local\", \"id=abc\" or \"description~=npm\"; all keys must match")
	fs.DurationVar(&f.keep, "keep-duration", 0, "keep what was used since so long, as in \"24h\"")
	fs.StringVar(&f.reserved, "reserved-space", "", "room that is kept in any case, as in \"5gb\"")
	fs.StringVar(&f.reserved, "keep-storage", "", "as --reserved-space")
	fs.StringVar(&f.most, "max-used-space", "", "the most room that is kept")
	fs.StringVar(&f.free, "min-free-space", "", "room that should be free on the disk")
	fs.BoolVar(&f.opt.DryRun, "dry-run", false, "show what would be removed")
	fs.BoolVarP(&f.force, "force", "f", false, "do not ask")
	fs.BoolVar(&f.verbose, "verbose", false, "all that is known of each record")
	cmd.MarkFlagsMutuallyExclusive("reserved-space", "keep-storage")
	return cmd
}

// settle makes options of the flags.
func (f *pruneFlags) settle() (err error) {
	if f.opt.Filters, f.opt.KeepDuration, err = store.PruneFilters(f.filters); err != nil {
		return err
	}
	if f.keep > 0 {
		f.opt.KeepDuration = f.keep
	}
	for _, limit := range []struct {
		flag, text string
		to         *int64
	}{
		{"reserved-space", f.reserved, &f.opt.ReservedSpace},
		{"max-used-space", f.most, &f.opt.MaxUsedSpace},
		{"min-free-space", f.free, &f.opt.MinFreeSpace},
	} {
		if limit.text == "" {
			continue
		}
		n, err := units.FromHumanSize(limit.text)
		if err != nil {
			return fmt.Errorf("--%s %q: %w", limit.flag, limit.text, err)
		}
		*limit.to = n
	}
	return nil
}

func (c *cli) prune(ctx context.Context, from pruner, f *pruneFlags) error {
	var total int64
	n := 0
	err := from.Prune(ctx, f.opt, func(u store.UsageInfo) {
		total += u.Size
		n++
		if f.verbose {
			printRecord(c.text(), u)
			return
		}
		line := shortID(u) + "  " + size(u.Size) + "  "
		room := 80
		if width := terminalWidth(c.out); width > 0 {
			room = max(width-len(line), 10)
		}
		fmt.Fprintln(c.text(), line+oneLine(u.Description, room))
	})
	verb := "freed"
	if f.opt.DryRun {
		verb = "would free"
	}
	fmt.Fprintf(c.text(), "%s %s in %s\n", verb, size(total), records(n))
	return err
}
