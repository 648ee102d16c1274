// Command keys records the cache keys that buildkitd exports for the cases of the engine's
// test of them: engine/testdata/keys. Run it in the folder bench as root, on Linux for
// amd64 with runc, git and a static busybox; then look at what git diff shows.
//
//	go run ./cmd/keys            # all cases
//	go run ./cmd/keys git copy   # those whose names begin so
//	go run ./cmd/keys -exchange  # nothing is written: both daemons build with each other's caches
//	go run ./cmd/keys -exchange -s3  # the same by way of a store that speaks S3's protocol
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	cachetypes "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/bench/build"
	"github.com/tenonbuild/tenon/internal/keycases"
)

func main() {
	exchange := flag.Bool("exchange", false, "write nothing; have buildkitd and tenond build with each other's caches, and compare what they run")
	bucket := flag.Bool("s3", false, "with -exchange: the caches are in a store that speaks S3's protocol, not in folders")
	flag.Parse()
	do := record
	if *exchange {
		do = exchanging(*bucket)
	}
	if err := run(context.Background(), filepath.Join("..", "engine", "testdata", "keys"), flag.Args(), do); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// programs are the daemons.
type programs struct{ buildkitd, tenond string }

func run(ctx context.Context, cases string, only []string, do func(context.Context, programs, *keycases.Case, *keycases.World, string) error) (err error) {
	dir, err := os.MkdirTemp("", "keys-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := keycases.NewWorld(filepath.Join(dir, "world"))
	if err != nil {
		return err
	}
	defer w.Close()
	all, err := keycases.Read(cases)
	if err != nil {
		return err
	}
	var made programs
	if made.buildkitd, err = build.MakePeer(ctx); err != nil {
		return err
	}
	if made.tenond, err = build.MakeTenond(ctx, dir); err != nil {
		return err
	}
	var failed error
	for _, c := range all {
		if len(only) > 0 && !slices.ContainsFunc(only, func(p string) bool { return strings.HasPrefix(c.Name, p) }) {
			continue
		}
		in := filepath.Join(dir, c.Name)
		err := os.Mkdir(in, 0o755)
		if err == nil {
			err = c.Context(in, w)
		}
		if err == nil {
			err = do(ctx, made, c, w, in)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", c.Name, err))
		}
	}
	return failed
}

// record writes down what buildkitd exports.
func record(ctx context.Context, made programs, c *keycases.Case, w *keycases.World, dir string) error {
	fmt.Println(c.Name)
	to := filepath.Join(dir, "cache")
	if _, err := once(ctx, made.buildkitd, c, w, dir, nil, inFolder(to)); err != nil {
		return err
	}
	r, err := readCache(to)
	if err != nil {
		return err
	}
	return c.Write(r.Named(w.Names))
}

// once builds a case with a daemon of its own, so that no other has told it anything, and
// returns which steps were run. A nil cache is none.
func once(ctx context.Context, program string, c *keycases.Case, w *keycases.World, dir string, from, to *place) (ran []string, err error) {
	root, err := os.MkdirTemp(dir, "root-")
	if err != nil {
		return nil, err
	}
	d, err := build.NewDaemon(ctx, filepath.Base(program), root, program, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close(), os.RemoveAll(root)) }()
	opt, def, err := asked(ctx, c, w, dir)
	if err != nil {
		return nil, err
	}
	if from != nil {
		opt.CacheImports = []client.CacheOptionsEntry{{Type: from.kind, Attrs: from.read}}
	}
	if to != nil {
		opt.CacheExports = []client.CacheOptionsEntry{{Type: to.kind, Attrs: to.write}}
	}
	status := make(chan *client.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error {
		ran = steps(status)
		return nil
	})
	_, err = d.Client().Solve(ctx, def, opt, status)
	return ran, errors.Join(err, eg.Wait())
}

// asked is what a client asks for.
func asked(ctx context.Context, c *keycases.Case, w *keycases.World, dir string) (opt client.SolveOpt, def *llb.Definition, err error) {
	layout, err := contentlocal.NewStore(w.Layout)
	if err != nil {
		return opt, nil, err
	}
	opt.OCIStores, opt.LocalMounts = map[string]content.Store{"layout": layout}, map[string]fsutil.FS{}
	for name, dir := range map[string]string{"layout": w.Layout, "context": filepath.Join(dir, "context"), "dockerfile": filepath.Join(dir, "dockerfile")} {
		if opt.LocalMounts[name], err = fsutil.NewFS(dir); err != nil {
			return opt, nil, err
		}
	}
	make, ok := keycases.Definitions[c.Name]
	if !ok {
		opt.Frontend, opt.FrontendAttrs = "dockerfile.v0", w.FrontendAttrs(c)
		return opt, nil, nil
	}
	st, err := make(w)
	if err != nil {
		return opt, nil, err
	}
	def, err = st.Marshal(ctx, llb.LinuxAmd64)
	return opt, def, err
}

// readCache reads the records of an exported cache.
func readCache(dir string) (out keycases.Records, err error) {
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		return nil, err
	}
	for _, p := range blobs {
		dt, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		var cfg cachetypes.CacheConfig
		if json.Unmarshal(dt, &cfg) != nil || len(cfg.Records) == 0 {
			continue // a layer, or the manifest
		}
		for _, r := range cfg.Records {
			rec := keycases.Record{Digest: r.Digest, Result: len(r.Results)+len(r.ChainedResults) > 0}
			for i, inputs := range r.Inputs {
				for _, in := range inputs {
					rec.Links = append(rec.Links, keycases.Link{Input: i, From: in.LinkIndex, Selector: digest.Digest(in.Selector)})
				}
			}
			out = append(out, rec)
		}
		return out, nil
	}
	return nil, errors.New("the daemon has exported no records")
}
