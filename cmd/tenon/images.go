package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/store"
)

func (c *cli) imagesCommand() *cobra.Command {
	cmd := c.listImagesCommand("images [flags]")
	cmd.Short = "List the images in Tenon's own store, and work with them"
	cmd.Long = `List the images in Tenon's own store, and work with them.

Where an image is named, its name will do, the digest of its manifest or index,
that of its configuration (which docker calls its ID), or the beginning of one.`
	cmd.Aliases = []string{"image"}
	cmd.Args = knownCommand
	cmd.AddCommand(c.listImagesCommand("ls [flags]"), c.inspectCommand(), c.tagCommand(), c.pushCommand(),
		c.saveCommand(), c.loadCommand(), c.removeImagesCommand(), c.pruneImagesCommand())
	return cmd
}

// imageRow is an image under one name, as docker's templates have it.
type imageRow struct {
	Repository, Tag string
	// ID is the digest of the configuration, Digest that of the manifest or index.
	ID, Digest   string
	Name         string // in full; "<none>" if there is none
	Platform     string
	CreatedAt    string
	CreatedSince string
	Size         string
	Bytes        int64
}

const none = "<none>"

// rowsOf has a row for each name of each image.
func rowsOf(all []*images.Image, now time.Time) (rows []imageRow) {
	for _, img := range all {
		names := img.Names
		if len(names) == 0 {
			names = []string{none}
		}
		for _, name := range names {
			r := imageRow{
				Repository: none, Tag: none, Name: name, ID: img.ID().String(), Digest: img.Target.Digest.String(),
				Platform: platformsOf(img), Bytes: img.Size, Size: size(img.Size), CreatedAt: "-", CreatedSince: "-",
			}
			if n, err := reference.ParseNormalizedNamed(name); err == nil && name != none {
				r.Repository = reference.FamiliarName(n)
				if t, ok := n.(reference.Tagged); ok {
					r.Tag = t.Tag()
				}
			}
			if t := img.Created(); !t.IsZero() {
				r.CreatedAt, r.CreatedSince = t.Local().Format(time.RFC3339), units.HumanDuration(now.Sub(t))+" ago"
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func platformsOf(img *images.Image) string {
	var out []string
	for _, p := range img.Platforms {
		out = append(out, platforms.Format(p.Platform))
	}
	if len(out) == 0 {
		return "-"
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}

func (c *cli) listImagesCommand(use string) *cobra.Command {
	var quiet, noTrunc, all bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use:     use,
		Aliases: []string{"list"},
		Short:   "List images",
		Example: `  tenon images ls --filter dangling=true
  tenon images ls --format '{{.Repository}}:{{.Tag}} {{.ID}}'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			match, err := imageFilter(append(filters, asReferences(args)...))
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return c.read(ctx, func(r query.Reader) error {
				list, err := r.Images(ctx)
				if err != nil {
					return err
				}
				list = slices.DeleteFunc(list, func(i *images.Image) bool { return !match(i) })
				return c.listImages(list, format, quiet, noTrunc)
			})
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&quiet, "quiet", "q", false, "print the digests of manifests or indexes only")
	fs.StringArrayVarP(&filters, "filter", "f", nil, "only what matches: \"dangling=true\", \"label=KEY=VALUE\", \"reference=PATTERN\", \"until=24h\"")
	fs.StringVar(&format, "format", "", "\"json\" (one object a name), \"table TEMPLATE\" or a Go template")
	fs.BoolVar(&noTrunc, "no-trunc", false, "print digests in full")
	fs.BoolVarP(&all, "all", "a", false, "has no effect: all images are listed")
	return cmd
}

func asReferences(patterns []string) (out []string) {
	for _, p := range patterns {
		out = append(out, "reference="+p)
	}
	return out
}

func (c *cli) listImages(list []*images.Image, format string, quiet, noTrunc bool) error {
	if quiet {
		for _, img := range list {
			fmt.Fprintln(c.text(), img.Target.Digest)
		}
		return nil
	}
	rows := rowsOf(list, time.Now())
	cut := func(s string) string {
		if noTrunc {
			return s
		}
		return short(digest.Digest(s).Encoded())
	}
	return printRows(c.text(), format, rows, func(w io.Writer) error {
		fmt.Fprintln(w, "NAME\tIMAGE ID\tDIGEST\tPLATFORM\tCREATED\tSIZE")
		for _, r := range rows {
			name := r.Name
			if name != none {
				name = images.Familiar(name)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, cut(r.ID), cut(r.Digest), r.Platform, r.CreatedSince, r.Size)
		}
		return nil
	})
}

// imageFilter reads filters of images, as docker images has them.
func imageFilter(list []string) (func(*images.Image) bool, error) {
	opt, dangling, err := imageConditions(list)
	if err != nil {
		return nil, err
	}
	return func(i *images.Image) bool {
		return opt.Match(i, time.Now()) && (dangling == nil || *dangling == (len(i.Names) == 0))
	}, nil
}

// imageConditions reads filters of images. Dangling is nil if it is not asked for.
func imageConditions(list []string) (opt images.PruneOptions, dangling *bool, err error) {
	for _, f := range list {
		key, value, ok := strings.Cut(f, "=")
		negated := strings.HasSuffix(key, "!")
		if !ok || value == "" || negated && key != "label!" {
			return opt, nil, fmt.Errorf("filter %q: say KEY=VALUE", f)
		}
		switch key {
		case "label":
			opt.Labels = append(opt.Labels, value)
		case "label!":
			opt.NoLabels = append(opt.NoLabels, value)
		case "reference":
			opt.References = append(opt.References, value)
		case "until":
			if opt.Until, err = store.ParseUntil(value, time.Now()); err != nil {
				return opt, nil, fmt.Errorf("filter %q: %w", f, err)
			}
		case "dangling":
			yes := value == "true" || value == "1"
			if !yes && value != "false" && value != "0" {
				return opt, nil, fmt.Errorf("filter %q: it can be true or false", f)
			}
			dangling = &yes
		default:
			return opt, nil, fmt.Errorf("filter %q: there are dangling, label, label!, reference and until", f)
		}
	}
	return opt, dangling, nil
}

func (c *cli) removeImagesCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm IMAGE [IMAGE...]",
		Aliases: []string{"remove", "rmi"},
		Short:   "Remove images, and free what no build has left of them",
		Long: `Remove names of images, and images with their last name. A digest stands for
all names of its image: where there are several, --force is needed.

What a build has left of them stays for other builds: see tenon prune.`,
		Args:              arguments(1, many, "an image or more"),
		ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.change(ctx, func(r query.Root) error {
				gone, err := r.Remove(ctx, args, force)
				c.printRemoved(gone)
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also an image with several names, by its digest")
	return cmd
}

func (c *cli) printRemoved(gone []images.Removed) {
	for _, r := range gone {
		for _, n := range r.Names {
			fmt.Fprintf(c.text(), "Untagged: %s\n", images.Familiar(n))
		}
		if r.Digest != "" {
			fmt.Fprintf(c.text(), "Deleted: %s\n", r.Digest)
		}
	}
}

func (c *cli) pruneImagesCommand() *cobra.Command {
	var all, force bool
	var filters []string
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove images that have lost their name to another",
		Args:  arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt, dangling, err := imageConditions(filters)
			if err != nil {
				return err
			}
			opt.All = all || dangling != nil && !*dangling
			warning := "This removes all images that have no name."
			if opt.All {
				warning = "This removes all images, also those with names."
			}
			if ok, err := c.confirm(warning, force); !ok {
				return err
			}
			ctx := cmd.Context()
			return c.change(ctx, func(r query.Root) error { return c.pruneImages(ctx, r, opt) })
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "also images with names")
	fs.BoolVarP(&force, "force", "f", false, "do not ask")
	fs.StringArrayVar(&filters, "filter", nil, "only what matches: \"until=24h\", \"label=KEY=VALUE\", \"label!=KEY\", \"reference=PATTERN\"")
	return cmd
}

func (c *cli) pruneImages(ctx context.Context, r query.Root, opt images.PruneOptions) error {
	before, err := r.Usage(ctx)
	if err != nil {
		return err
	}
	gone, err := r.Prune(ctx, opt)
	c.printRemoved(gone)
	after, err2 := r.Usage(ctx)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	fmt.Fprintf(c.text(), "freed %s in %s\n", size(max(0, before.Total-after.Total)), counted(len(gone), "image"))
	return nil
}

func short(id string) string { return id[:min(12, len(id))] }

func since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}
