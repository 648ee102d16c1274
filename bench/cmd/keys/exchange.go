package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/tenonbuild/tenon/internal/keycases"
)

// exchanging has both daemons write caches, and each build with both. What is run with a
// cache of buildkitd's by either, and with one of ours by either, is to be what buildkitd
// runs with its own.
func exchanging(bucket bool) func(context.Context, programs, *keycases.Case, *keycases.World, string) error {
	return func(ctx context.Context, made programs, c *keycases.Case, w *keycases.World, dir string) error {
		theirs, ours := inFolder(filepath.Join(dir, "theirs")), inFolder(filepath.Join(dir, "ours"))
		if bucket {
			s, err := newStore()
			if err != nil {
				return err
			}
			defer s.Close()
			theirs, ours = inStore(s, "theirs"), inStore(s, "ours")
		}
		return compare(ctx, made, c, w, dir, theirs, ours)
	}
}

func compare(ctx context.Context, made programs, c *keycases.Case, w *keycases.World, dir string, theirs, ours *place) error {
	all, err := once(ctx, made.buildkitd, c, w, dir, nil, theirs)
	if err != nil {
		return err
	}
	if _, err := once(ctx, made.tenond, c, w, dir, nil, ours); err != nil {
		return err
	}
	if ours.folder != "" {
		written, err := readCache(ours.folder)
		if err != nil {
			return err
		}
		for _, m := range c.Missing(written.Named(w.Names)) {
			fmt.Println("  not exported:", m)
		}
	}
	least, err := once(ctx, made.buildkitd, c, w, dir, theirs, nil)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%-28s of %2d steps run: %2d", c.Name, len(all), len(least))
	var bad []string
	for _, x := range []struct {
		name, program string
		cache         *place
	}{
		{"tenond with buildkitd's", made.tenond, theirs},
		{"buildkitd with tenond's", made.buildkitd, ours},
		{"tenond with its own", made.tenond, ours},
	} {
		ran, err := once(ctx, x.program, c, w, dir, x.cache, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		line += fmt.Sprintf(" %2d", len(ran))
		if len(ran) > len(least) {
			bad = append(bad, fmt.Sprintf("%s: %s were run", x.name, strings.Join(ran, ", ")))
		}
	}
	fmt.Println(line)
	if bad != nil {
		return fmt.Errorf("buildkitd with its own cache runs %d steps; %s", len(least), strings.Join(bad, "; "))
	}
	return nil
}

// steps are the names of what was run, but for what brings sources and caches.
func steps(status <-chan *client.SolveStatus) []string {
	ran := map[string]string{}
	for s := range status {
		for _, v := range s.Vertexes {
			if v.Started != nil && v.Completed != nil && !v.Cached && v.Error == "" && isStep(v.Name) {
				ran[v.Digest.String()] = v.Name
			} else if v.Cached {
				delete(ran, v.Digest.String())
			}
		}
	}
	return slices.Sorted(maps.Values(ran))
}

func isStep(name string) bool {
	for _, not := range []string{"[internal]", "importing cache", "exporting", "docker-image", "oci-layout", "local://", "http://", "https://", "git://", "resolve ", "[context "} {
		if strings.HasPrefix(name, not) {
			return false
		}
	}
	return !strings.Contains(name, " internal] ") && !strings.Contains(name, "] FROM ") && !strings.HasPrefix(name, "FROM ")
}
