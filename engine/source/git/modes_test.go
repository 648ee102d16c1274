package git_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// Files that cannot be executed can be written by all where that is wanted; the tree has
// another key then.
func TestOpenFiles(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("dir/plain", "x")
	r.write("run", "x")
	check.OK(t, os.Chmod(filepath.Join(r.dir, "run"), 0o755))
	check.OK(t, os.Symlink("/etc/passwd", filepath.Join(r.dir, "link")))
	commit := r.commit("one")
	src := newSource(t, e)
	keys := map[string]bool{}
	for open, want := range map[string]os.FileMode{"": 0o644, "true": 0o666} {
		key, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, srv.op("r.git", "#"+commit, pb.AttrKeepGitDir, "", git.AttrOpenFiles, open))
		check.OK(t, err)
		keys[key] = true
		files := sourcetest.Files(t, ref)
		for name, mode := range map[string]os.FileMode{"dir/plain": want, "run": 0o755, "dir": 0o755} {
			check.Equal(t, name, files[name].Mode.Perm(), mode)
		}
	}
	check.Equal(t, "keys", len(keys), 2)
	fi, err := os.Stat("/etc/passwd")
	check.OK(t, err)
	check.Equal(t, "what the link leads to", fi.Mode().Perm()&0o222, 0o200)
}
