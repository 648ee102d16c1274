package git_test

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
)

// Where files have the time of the commit, a file of another commit is another file for
// what copies it; where they have that of the checkout, which says nothing, it is not.
func TestTimesOfCommitsCount(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "same")
	first := r.commit("one")
	r.env = []string{"GIT_COMMITTER_DATE=2020-01-01T00:00:00Z"}
	second := r.commit("two")
	src := newSource(t, e)
	sum := func(commit, mtime string) string {
		_, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, srv.op("r.git", "#"+commit, pb.AttrGitMTime, mtime))
		if err != nil {
			t.Fatal(err)
		}
		d, err := contenthash.Checksum(t.Context(), ref, "/f", contenthash.Opt{})
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	if sum(first, "checkout") != sum(second, "checkout") {
		t.Error("a file that was checked out twice is not the same")
	}
	if sum(first, "commit") == sum(second, "commit") {
		t.Error("a file of another time is the same")
	}
}
