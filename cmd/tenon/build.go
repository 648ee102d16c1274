package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	bkclient "github.com/moby/buildkit/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/frontend/dockerfile"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

func (c *cli) buildCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:     "build [flags] PATH|URL|-",
		Aliases: []string{"b"},
		Short:   "Build from a Dockerfile",
		Long: `Build what a Dockerfile describes. The context, which the Dockerfile copies
from, is a directory, the URL of a git repository or of an archive, or "-" for
an archive (or a Dockerfile alone) on standard input.

The flags are those of docker buildx build. Without --tag and --output the
result stays in the cache, where the next build finds it.

Outputs (-o type=TYPE,NAME=VALUE,...) and what can be said of them:
  image     push, push-by-digest, registry.insecure, store, name-canonical,
            unpack, dangling-name-prefix, danging-name-empty-only
  oci       dest=FILE, tar=false for a directory
  docker    dest=FILE, or none for docker load; tar
    all three: name, compression, compression-level, force-compression,
            oci-mediatypes, rewrite-timestamp, source-date-epoch, annotation.KEY,
            attestation-inline, oci-artifact, prefer-nondist-layers
  local     dest=DIR, mode=copy|delete, platform-split, privileged-files,
            source-date-epoch, attestation-prefix
  tar       dest=FILE, platform-split, source-date-epoch, attestation-prefix
  cacheonly nothing
See docs/outputs.md. Files in a directory (-o DIR) belong to who runs the build. They
are not setuid or setgid, have no capabilities, and there are no devices among them,
unless privileged-files=true asks for that. Archives have all of it.`,
		Example: `  tenon build -t hello .
  tenon build -f app.Dockerfile --target test --build-arg VERSION=1.2 -o out .
  tenon build -t registry.example/app:1 --push --platform linux/amd64 .
  tenon build --secret id=token,env=TOKEN --ssh default .
  tenon build https://example.org/app.git#main:sub
  tar c . | tenon build -o - - > result.tar
  tenon build --check .`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("tenon build needs one argument, the context, and has %d: \".\" is the current directory", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.build(cmd.Context(), args[0], f) },
	}
	cmd.Flags().SortFlags = false
	f.register(cmd.Flags())
	completeValues(cmd)
	c.completeBuild(cmd, f)
	return cmd
}

func (c *cli) build(ctx context.Context, where string, f *buildFlags) (err error) {
	if err := f.validate(); err != nil {
		return err
	}
	if err := c.checkEnv(f); err != nil {
		return err
	}
	call, err := parseCall(f.call)
	if err != nil {
		return err
	}
	req, caches, done, err := c.request(ctx, where, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if call.request != "" {
		req.FrontendAttrs["requestid"] = call.request
		return c.ask(ctx, req, call, f)
	}
	exports, kept, err := c.exports(ctx, f)
	if err != nil {
		return err
	}
	req.Exports = exports
	if err := f.checkReports(); err != nil {
		return err
	}
	if err := forgetID(f.iidFile); err != nil {
		return fmt.Errorf("--iidfile: %w", err)
	}
	res, err := c.run(ctx, req, f.progressMode(c.env), recording{projectOf(where, req.FrontendAttrs), f.explain, caches.skipped})
	if res != nil && res.Response != nil {
		err = errors.Join(err, c.finish(ctx, f, caches, res.Caches))
	}
	return c.conclude(ctx, res, f, err, kept, "name an image with --tag, or an output with --output")
}

// request is what the flags ask for, but for what is made of the result. Done is to be called
// when it is not needed any more.
func (c *cli) request(ctx context.Context, where string, f *buildFlags) (_ engine.Request, _ *buildCaches, done func() error, err error) {
	none := engine.Request{}
	attrs, err := f.attrs(c.env)
	if err != nil {
		return none, nil, nil, err
	}
	if err := addProxies(attrs, c.env); err != nil {
		return none, nil, nil, err
	}
	in, err := c.input(ctx, where, f)
	if err != nil {
		return none, nil, nil, err
	}
	maps.Copy(attrs, in.attrs)
	caches, err := c.caches(f)
	if err != nil {
		return none, nil, nil, errors.Join(err, in.Close())
	}
	sess, err := c.session(ctx, in, f, caches)
	if err != nil {
		return none, nil, nil, errors.Join(err, in.Close())
	}
	return engine.Request{
		Frontend:       dockerfile.Name,
		FrontendAttrs:  attrs,
		FrontendInputs: in.inputs,
		Session:        sess,
		Allow:          f.allow,
		CacheFrom:      caches.from,
		CacheTo:        caches.to,
		Verify:         f.verify,
		MayRun:         f.mayRun(),
	}, caches, in.Close, nil
}

// conclude tells what a build has come to, and returns why the command fails. If the result
// is kept in the cache alone, advice says what would have made more of it.
func (c *cli) conclude(ctx context.Context, res *outcome, f *buildFlags, err error, kept bool, advice string) error {
	c.showVerified(res, f, err)
	if err != nil {
		return err
	}
	if kept {
		c.hint(f, "built; the result is in the cache only: "+advice)
	}
	if err := c.report(ctx, res, f); err != nil {
		return err
	}
	return c.verified(res)
}

func (f *buildFlags) progressMode(env func(string) (string, bool)) string {
	if f.quiet || f.progress == "none" {
		return progress.Quiet
	}
	if v, ok := env("BUILDKIT_PROGRESS"); ok && v != "" && f.progress == "auto" {
		return v
	}
	return f.progress
}

// outcome is what a build has resulted in.
type outcome struct {
	*engine.Response
	warnings []bkclient.VertexWarning
}

// run builds, and shows how it goes. A build of a project is recorded.
func (c *cli) run(ctx context.Context, req engine.Request, mode string, how recording) (res *outcome, err error) {
	if err := progress.CheckMode(mode); err != nil {
		return nil, fmt.Errorf("--progress %w", err)
	}
	err = c.work(ctx, func(w worker) error {
		status := make(chan *client.SolveStatus)
		req.Status = status
		var eg errgroup.Group
		var tally progress.Tally
		var tail progress.Tail
		var warnings []bkclient.VertexWarning
		// The display goes on until the last status has come, also when ctx ends.
		eg.Go(func() error {
			var err error
			warnings, err = progress.Display(context.WithoutCancel(ctx), c.screen(), mode, status, &tally, &tail)
			return err
		})
		built, err := c.recorded(w, how).Build(ctx, req)
		if shown := eg.Wait(); err == nil {
			err = shown
		}
		res = &outcome{Response: built, warnings: warnings}
		if mode != progress.RawJSON && mode != progress.Quiet {
			printWarnings(c.err, warnings, c.flags.debug)
		}
		c.sumUp(mode, err, &tally, &tail)
		return err
	})
	return res, err
}

// hint says something that is not asked for, where progress is for people.
func (c *cli) hint(f *buildFlags, text string) {
	if mode := f.progressMode(c.env); mode != progress.RawJSON && mode != progress.Quiet {
		fmt.Fprintln(c.err, text)
	}
}

// sumUp says what a display does not.
func (c *cli) sumUp(mode string, err error, tally *progress.Tally, tail *progress.Tail) {
	switch mode {
	case progress.RawJSON:
	case progress.Quiet:
		var ve *solver.VertexError
		if !errors.As(err, &ve) {
			return
		}
		if lines := tail.Lines(ve.Digest, 10); len(lines) > 0 {
			fmt.Fprintf(c.err, "------\n > %s:\n", ve.Name)
			fmt.Fprintf(c.screen(), "%s\n------\n", strings.Join(lines, "\n"))
		}
	default:
		if said := tally.String(); said != "" {
			if tally.Explained() {
				said += ` ("tenon why" says why)`
			}
			fmt.Fprintln(c.err, said)
		}
	}
}

// forgetID takes away the ID that an earlier build has written, which would be taken for
// this one's. Devices, pipes and links stay what they are.
func forgetID(path string) error {
	if path == "" {
		return nil
	}
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	if l, err := os.Lstat(path); err == nil && l.Mode().IsRegular() {
		return os.Remove(path)
	}
	return os.Truncate(path, 0)
}
