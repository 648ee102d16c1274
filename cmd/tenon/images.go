package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
)

func (c *cli) imagesCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "images [flags]",
		Short: "List the images in Tenon's own store",
		Args:  knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return c.with(ctx, func(e *engine.Engine) error { return c.listImages(ctx, e, quiet) })
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the digests only")
	cmd.AddCommand(c.removeImageCommand())
	return cmd
}

func (c *cli) removeImageCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME [NAME...]",
		Aliases: []string{"remove"},
		Short:   "Remove images; the room they take is free after tenon prune",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.with(ctx, func(e *engine.Engine) error {
				var errs []error
				for _, name := range args {
					errs = append(errs, removeImage(ctx, e, name))
				}
				return errors.Join(errs...)
			})
		},
	}
}

// removeImage removes an image by the name it was given, or by that in full.
func removeImage(ctx context.Context, e *engine.Engine, name string) error {
	full := name
	if n, err := reference.ParseNormalizedNamed(name); err == nil {
		full = reference.TagNameOnly(n).String()
	}
	st := e.Store()
	err := st.Images().Delete(st.Context(ctx), full)
	if errdefs.IsNotFound(err) && full != name {
		err = st.Images().Delete(st.Context(ctx), name)
	}
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("there is no image %q: see tenon images", name)
	}
	return err
}

func (c *cli) listImages(ctx context.Context, e *engine.Engine, quiet bool) error {
	st := e.Store()
	ctx = st.Context(ctx)
	list, err := st.Images().List(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b images.Image) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	if quiet {
		for _, img := range list {
			fmt.Fprintln(c.out, img.Target.Digest)
		}
		return nil
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tDIGEST\tPLATFORM\tCREATED\tSIZE")
	for _, img := range list {
		size, err := img.Size(ctx, st.Content(), nil)
		if err != nil {
			size = img.Target.Size // layers that were never pulled are not here
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", familiar(img.Name), short(img.Target.Digest.Encoded()),
			platformsOf(ctx, st.Content(), img.Target), since(img.UpdatedAt), units.HumanSize(float64(size)))
	}
	return w.Flush()
}

// familiar is a name as people give it.
func familiar(name string) string {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(n)
}

func short(id string) string { return id[:min(12, len(id))] }

func platformsOf(ctx context.Context, provider content.Provider, target ocispec.Descriptor) string {
	list, err := images.Platforms(ctx, provider, target)
	if err != nil || len(list) == 0 {
		return "-"
	}
	var out []string
	for _, p := range list {
		if p.OS != "unknown" { // that of attestations
			out = append(out, platforms.Format(p))
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}

func since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}
