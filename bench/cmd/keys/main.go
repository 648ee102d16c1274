// Command keys records the cache keys that buildkitd exports for the cases of the engine's
// test of them: engine/testdata/keys. Run it in the folder bench as root, on Linux for
// amd64 with runc, git and a static busybox; then look at what git diff shows.
//
//	go run ./cmd/keys            # all cases
//	go run ./cmd/keys git copy   # those whose names begin so
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

	"github.com/tenonbuild/tenon/bench/build"
	"github.com/tenonbuild/tenon/internal/keycases"
)

func main() {
	flag.Parse()
	if err := run(context.Background(), filepath.Join("..", "engine", "testdata", "keys"), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cases string, only []string) (err error) {
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
	buildkitd, err := build.MakePeer(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if len(only) > 0 && !slices.ContainsFunc(only, func(p string) bool { return strings.HasPrefix(c.Name, p) }) {
			continue
		}
		fmt.Println(c.Name)
		r, err := record(ctx, buildkitd, c, w, filepath.Join(dir, c.Name))
		if err == nil {
			err = c.Write(r.Named(w.Names))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// record builds a case with a daemon of its own, so that no other has told it anything.
func record(ctx context.Context, buildkitd string, c *keycases.Case, w *keycases.World, dir string) (_ keycases.Records, err error) {
	d, err := build.NewDaemon(ctx, "buildkitd", dir, buildkitd, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	layout, err := contentlocal.NewStore(w.Layout)
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, "cache")
	opt := client.SolveOpt{
		OCIStores:    map[string]content.Store{"layout": layout},
		LocalMounts:  map[string]fsutil.FS{},
		CacheExports: []client.CacheOptionsEntry{{Type: "local", Attrs: map[string]string{"dest": to, "mode": "max"}}},
	}
	if opt.LocalMounts["layout"], err = fsutil.NewFS(w.Layout); err != nil {
		return nil, err
	}
	var def *llb.Definition
	if make, ok := keycases.Definitions[c.Name]; ok {
		st, err := make(w)
		if err != nil {
			return nil, err
		}
		if def, err = st.Marshal(ctx, llb.LinuxAmd64); err != nil {
			return nil, err
		}
	} else {
		if err := c.Context(dir, w); err != nil {
			return nil, err
		}
		opt.Frontend, opt.FrontendAttrs = "dockerfile.v0", w.FrontendAttrs(c)
		for _, name := range []string{"context", "dockerfile"} {
			if opt.LocalMounts[name], err = fsutil.NewFS(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	if _, err := d.Client().Solve(ctx, def, opt, nil); err != nil {
		return nil, err
	}
	return readCache(to)
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
