package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxNested is how deep submodules may be in submodules.
const maxNested = 50

// submodules writes the submodules of a checkout, and theirs.
func (b *bare) submodules(ctx context.Context, repo, tree string) error {
	if !hasSubmodules(tree) {
		return nil
	}
	done := b.step("fetching submodules")
	if err := b.nested(ctx, repo, tree, 1); err != nil {
		return fmt.Errorf("submodules: %w", err)
	}
	done()
	return nil
}

func hasSubmodules(tree string) bool {
	_, err := os.Lstat(filepath.Join(tree, ".gitmodules"))
	return err == nil
}

// nested writes submodules a level at a time: before they are fetched, it is found out how
// each is reached.
func (b *bare) nested(ctx context.Context, repo, tree string, depth int) error {
	if !hasSubmodules(tree) {
		return nil
	}
	if depth > maxNested {
		return fmt.Errorf("they are nested more than %d deep", maxNested)
	}
	if err := b.admitSubmodules(ctx, repo, tree); err != nil {
		return err
	}
	if err := b.updateSubmodules(ctx, repo, tree); err != nil {
		return err
	}
	// What is in the index as a commit is a submodule, and has a repository by now.
	index, err := b.run(ctx, "none", repo, tree, "ls-files", "--stage", "-z")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(index), "\x00") {
		mode, path, ok := strings.Cut(line, "\t")
		if !ok || !strings.HasPrefix(mode, "160000 ") {
			continue
		}
		sub := filepath.Join(tree, path)
		fi, err := os.Lstat(filepath.Join(sub, ".git"))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
			continue // it is not to be fetched
		}
		if err != nil {
			return err
		}
		inner, err := b.run(ctx, "none", "", sub, "rev-parse", "--absolute-git-dir")
		if err != nil {
			return err
		}
		if err := b.nested(ctx, strings.TrimSuffix(string(inner), "\n"), sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// admitSubmodules has git read .gitmodules, and admits what it then knows.
func (b *bare) admitSubmodules(ctx context.Context, repo, tree string) error {
	if _, err := b.run(ctx, "none", repo, tree, "submodule", "--quiet", "init"); err != nil {
		return err
	}
	// In --null, a name and its value are separated by a line break.
	known, err := b.run(ctx, "none", repo, tree, "config", "--local", "--null", "--list")
	if err != nil {
		return err
	}
	for _, entry := range strings.Split(string(known), "\x00") {
		key, url, ok := strings.Cut(entry, "\n")
		if !ok || !strings.HasPrefix(key, "submodule.") || !strings.HasSuffix(key, ".url") {
			continue
		}
		if err := b.admit(ctx, url); err != nil {
			return err
		}
	}
	return nil
}

// updateSubmodules writes the submodules of one level.
func (b *bare) updateSubmodules(ctx context.Context, repo, tree string) error {
	update := []string{"submodule", "update", "--init", "--force"}
	_, err := b.again(ctx, func() ([]byte, error) {
		return b.run(ctx, remoteProtocols, repo, tree, append(update, "--depth=1")...)
	})
	if !unadvertised(err) {
		return err
	}
	// Not the last commit of a branch, on a server that gives out nothing else alone:
	// begin again, with the history.
	if _, err := b.run(ctx, "none", repo, tree, "submodule", "deinit", "--quiet", "--force", "--all"); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(repo, "modules")); err != nil {
		return err
	}
	_, err = b.again(ctx, func() ([]byte, error) {
		return b.run(ctx, remoteProtocols, repo, tree, update...)
	})
	return err
}
