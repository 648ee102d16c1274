package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/internal/stream"
)

func (c *cli) llbCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "llb",
		Short: "Build or show LLB definitions",
		Long: `LLB is the graph of operations that frontends make. A marshalled definition is
read from standard input or a file, as buildctl takes it.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.llbBuildCommand(), c.llbDumpCommand())
	return cmd
}

func (c *cli) llbBuildCommand() *cobra.Command {
	f := &buildFlags{network: "default", progress: "auto", explain: true}
	var dirs, layouts []string
	cmd := &cobra.Command{
		Use:   "build [flags] [FILE]",
		Short: "Build a marshalled LLB definition",
		Long: `Build a marshalled LLB definition, from a file or standard input. What it takes
from this machine it knows by names, which the flags give a meaning.`,
		Example: `  my-frontend | tenon llb build --local src=. -o out
  tenon llb build -t app --secret id=token,env=TOKEN definition.pb`,
		Args: arguments(0, 1, "one argument at most, a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := &buildInput{dirs: map[string]string{}, layouts: map[string]string{}}
			for _, err := range []error{namedPaths(in.dirs, "local", dirs), namedPaths(in.layouts, "oci-layout", layouts)} {
				if err != nil {
					return err
				}
			}
			return c.llbBuild(cmd.Context(), args, in, f)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&dirs, "local", nil, `directory that the definition knows by name, as "name=PATH"`)
	fs.StringArrayVar(&layouts, "oci-layout", nil, `OCI layout that the definition knows by name, as "name=PATH"`)
	fs.StringArrayVarP(&f.outputs, "output", "o", nil, "what to make of the result, as for tenon build")
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "name of the image, as for tenon build")
	fs.BoolVar(&f.noCache, "no-cache", false, "run every operation, whatever is in the cache")
	fs.StringArrayVar(&f.secrets, "secret", nil, "secret, as for tenon build")
	fs.StringArrayVar(&f.ssh, "ssh", nil, "SSH agent or keys, as for tenon build")
	fs.StringSliceVar(&f.allow, "allow", nil, "what operations may do beyond the usual, as for tenon build")
	fs.StringVar(&f.progress, "progress", "auto", "how progress is shown, as for tenon build")
	fs.BoolVar(&f.verify, "verify", false, "run each command that runs a second time, as for tenon build")
	fs.Var(&f.failOnRun, "fail-on-run", "fail before an operation runs that no cache has, as for tenon build")
	fs.Lookup("fail-on-run").NoOptDefVal = allSteps
	fs.StringVar(&f.metadataFile, "metadata-file", "", "file to write what is known of the result to, as JSON")
	completeValues(cmd)
	return cmd
}

// namedPaths reads the values of a flag, name=PATH, where PATH is a directory.
func namedPaths(to map[string]string, flag string, values []string) error {
	for _, v := range values {
		name, path, ok := strings.Cut(v, "=")
		if !ok || name == "" || path == "" {
			return fmt.Errorf("--%s %q: it should look like name=PATH", flag, v)
		}
		st, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("--%s %q: %w", flag, v, err)
		}
		if !st.IsDir() {
			return fmt.Errorf("--%s %q: %s is not a directory", flag, v, path)
		}
		to[name] = path
	}
	return nil
}

func (c *cli) llbBuild(ctx context.Context, args []string, in *buildInput, f *buildFlags) error {
	def, err := c.definition(ctx, args)
	if err != nil {
		return err
	}
	sess, err := c.session(ctx, in, f, &buildCaches{})
	if err != nil {
		return err
	}
	if err := f.checkReports(); err != nil {
		return err
	}
	exports, kept, err := c.exports(ctx, f)
	if err != nil {
		return err
	}
	res, err := c.run(ctx, engine.Request{
		Definition: def, Session: sess, Exports: exports, NoCache: f.noCache,
		Allow: f.allow, Verify: f.verify, MayRun: f.mayRun(),
	}, f.progressMode(c.env), recording{project: "LLB", explain: f.explain})
	return c.conclude(ctx, res, f, err, kept, "name an output with --output")
}

func (c *cli) llbDumpCommand() *cobra.Command {
	var dot bool
	cmd := &cobra.Command{
		Use:   "dump [--dot] [FILE]",
		Short: "Show a marshalled LLB definition, one JSON object an operation",
		Args:  arguments(0, 1, "one argument at most, a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			def, err := c.definition(cmd.Context(), args)
			if err != nil {
				return err
			}
			if dot {
				return llb.DumpDot(c.text(), def)
			}
			return llb.Dump(c.text(), def)
		},
	}
	cmd.Flags().BoolVar(&dot, "dot", false, "as a graph for Graphviz")
	return cmd
}

// maxDefinition bounds what is read as a definition.
const maxDefinition = 256 << 20

// definition reads a marshalled definition from a file, or from standard input.
func (c *cli) definition(ctx context.Context, args []string) (*pb.Definition, error) {
	r, from := c.in, "standard input"
	if len(args) == 1 && args[0] != "-" {
		f, err := stream.Open(ctx, args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, from = f, args[0]
	}
	dt, err := io.ReadAll(io.LimitReader(r, maxDefinition+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", from, err)
	case len(dt) > maxDefinition:
		return nil, fmt.Errorf("%s is larger than %d MiB: that is not a definition", from, maxDefinition>>20)
	case len(dt) == 0:
		return nil, errors.New(from + " is empty: it should be a marshalled LLB definition")
	}
	def, err := bkllb.ReadFrom(strings.NewReader(string(dt)))
	if err != nil {
		return nil, fmt.Errorf("%s is not a marshalled LLB definition: %w", from, err)
	}
	return def.ToPB(), nil
}
