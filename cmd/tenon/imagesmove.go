package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/internal/stream"
	"github.com/tenonbuild/tenon/solver/client"
)

func (c *cli) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE NAME [NAME...]",
		Short: "Give an image more names",
		Args:  arguments(2, many, "an image and a name or more"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return c.completeImages(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.change(ctx, func(r query.Root) error {
				for _, name := range args[1:] {
					if err := r.Tag(ctx, args[0], name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// pushFlags are those of images push.
type pushFlags struct {
	insecure, quiet    bool
	platform, progress string
}

func (c *cli) pushCommand() *cobra.Command {
	f := &pushFlags{}
	cmd := &cobra.Command{
		Use:   "push IMAGE [IMAGE...]",
		Short: "Push images to the registries that their names have in them",
		Long: `Push images to the registries that their names have in them, with the logins of
docker and podman. tenon images tag gives an image the name of a registry.`,
		Args:              arguments(1, many, "an image or more"),
		ValidArgsFunction: c.completeImages,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.push(cmd.Context(), args, f) },
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.insecure, "insecure", false, "allow plain http, and certificates that do not verify")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the digests only")
	fs.StringVar(&f.platform, "platform", "", "push one platform of an image for several")
	fs.StringVar(&f.progress, "progress", "auto", "how progress is shown: auto, tty, plain, quiet or rawjson (BUILDKIT_PROGRESS)")
	completeValues(cmd)
	return cmd
}

func (c *cli) push(ctx context.Context, refs []string, f *pushFlags) error {
	want, err := onlyPlatform(f.platform)
	if err != nil {
		return err
	}
	sess, err := local.New(ctx, local.Options{ID: identity.NewID()})
	if err != nil {
		return err
	}
	shown := &buildFlags{progress: f.progress, quiet: f.quiet}
	mode := shown.progressMode(c.env)
	if err := progress.CheckMode(mode); err != nil {
		return fmt.Errorf("--progress %w", err)
	}
	req := engine.PushRequest{Images: refs, Session: sess, PushOptions: images.PushOptions{Insecure: f.insecure, Platform: want}}
	push := func(e *engine.Engine) error {
		status := make(chan *client.SolveStatus)
		req.Status = status
		var eg errgroup.Group
		eg.Go(func() error {
			_, err := progress.Display(context.WithoutCancel(ctx), c.screen(), mode, status, &progress.Tally{}, &progress.Tail{})
			return err
		})
		var said []string
		err := e.Push(ctx, req, func(name, digest string) {
			if f.quiet {
				said = append(said, digest)
				return
			}
			said = append(said, fmt.Sprintf("%s: digest: %s", images.Familiar(name), digest))
		})
		err = errors.Join(err, eg.Wait())
		for _, line := range said {
			fmt.Fprintln(c.text(), line)
		}
		return err
	}
	return c.either(ctx, push, func(r query.Root) error { return c.borrowing(ctx, r, refs, push) })
}

// borrowing lets use work with images that the process has which has the root: with copies of
// them, in a root that is there for so long. That process is not to have this one's logins.
func (c *cli) borrowing(ctx context.Context, r query.Root, names []string, use func(*engine.Engine) error) (err error) {
	write, err := r.Save(ctx, query.SaveRequest{Images: names, SaveOptions: images.SaveOptions{Format: images.FormatOCI}})
	if err != nil {
		return err
	}
	cfg, err := c.configure()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tenon-push-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	opt := cfg.engine()
	opt.Root, opt.Notice = dir, c.notice
	e, err := engine.Open(ctx, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	pr, pw := io.Pipe()
	var eg errgroup.Group
	eg.Go(func() error { return pw.CloseWithError(write(pw)) })
	_, err = query.Local(e.Store()).LoadArchive(ctx, pr)
	if err == nil {
		_, err = io.Copy(io.Discard, pr) // an archive ends before its file does
	}
	if err = errors.Join(err, pr.CloseWithError(err), eg.Wait()); err != nil {
		return fmt.Errorf("copying what is pushed: %w", err)
	}
	return use(e)
}

func onlyPlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("--platform %q: %w", s, err)
	}
	return &p, nil
}

func (c *cli) saveCommand() *cobra.Command {
	var file string
	var platform []string
	req := query.SaveRequest{}
	cmd := &cobra.Command{
		Use:   "save [-o FILE] IMAGE [IMAGE...]",
		Short: "Write images to an archive, for docker load, podman load, ctr image import, skopeo",
		Example: `  tenon images save app | docker load
  tenon images save -o app.tar app`,
		Args:              arguments(1, many, "an image or more"),
		ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Images = args
			for _, s := range platform {
				p, err := onlyPlatform(s)
				if err != nil {
					return err
				}
				req.Platforms = append(req.Platforms, *p)
			}
			return c.save(cmd.Context(), req, file)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&file, "output", "o", "", "the file to write, \"-\" for standard output (the default)")
	fs.StringVar(&req.Format, "format", images.FormatDocker, "docker (which is an OCI archive, too) or oci")
	fs.StringSliceVar(&platform, "platform", nil, "of images for several platforms, only these")
	return cmd
}

func (c *cli) save(ctx context.Context, req query.SaveRequest, file string) error {
	toOutput := file == "" || file == "-"
	if toOutput && isTerminal(c.out) {
		return errors.New("an archive would be written to the terminal: redirect standard output, or name a file with -o FILE")
	}
	return c.read(ctx, func(r query.Reader) error {
		write, err := r.Save(ctx, req)
		if err != nil {
			return err
		}
		if toOutput {
			return write(c.out)
		}
		return export.WriteFile(ctx, file, os.FileMode(c.umask), write)
	})
}

func (c *cli) loadCommand() *cobra.Command {
	var file string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "load [-i FILE]",
		Short: "Read images from an archive of docker save or of OCI, or from an OCI layout",
		Long: `Read images from an archive of docker save or of OCI, which may be compressed with
gzip or zstd, or from a directory with an OCI layout. An image without a name can
be given one by tenon images tag DIGEST NAME.`,
		Example: `  docker save app | tenon images load
  tenon images load -i layout/`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			in, closed, err := c.archive(ctx, file)
			if err != nil {
				return err
			}
			return errors.Join(c.change(ctx, func(r query.Root) error { return c.load(ctx, r, file, in, quiet) }), closed())
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&file, "input", "i", "", "the archive or layout to read, \"-\" for standard input (the default)")
	fs.BoolVarP(&quiet, "quiet", "q", false, "print the digests only")
	return cmd
}

// archive opens what is loaded; nil stands for a directory.
func (c *cli) archive(ctx context.Context, file string) (io.Reader, func() error, error) {
	nothing := func() error { return nil }
	if file == "" || file == "-" {
		if in, ok := c.in.(*stream.Reader); ok && isTerminal(in.File()) {
			return nil, nil, errors.New("there is no archive on standard input, which is the terminal: name one with -i FILE")
		}
		return c.in, nothing, nil
	}
	f, err := stream.Open(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	switch fi, err := f.File().Stat(); {
	case err != nil:
		return nil, nil, errors.Join(err, f.Close())
	case fi.IsDir():
		return nil, nothing, f.Close()
	}
	return f, f.Close, nil
}

func (c *cli) load(ctx context.Context, r query.Root, file string, in io.Reader, quiet bool) (err error) {
	var loaded []images.Loaded
	if in == nil {
		loaded, err = r.LoadLayout(ctx, file)
	} else {
		loaded, err = r.LoadArchive(ctx, in)
	}
	if err != nil {
		if file == "" || file == "-" {
			file = "standard input"
		}
		return fmt.Errorf("loading %s: %w", file, err)
	}
	for _, l := range loaded {
		switch {
		case quiet:
			fmt.Fprintln(c.text(), l.Target.Digest)
		case l.Name == "":
			fmt.Fprintf(c.text(), "Loaded image ID: %s\n", l.ID)
		default:
			fmt.Fprintf(c.text(), "Loaded image: %s\n", images.Familiar(l.Name))
		}
	}
	return nil
}
