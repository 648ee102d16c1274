package control_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// What git says to a checkout is shown if its advice is asked for.
func TestGitAdvice(t *testing.T) {
	testenv.Tool(t, "git")
	d := start(t)
	dir := t.TempDir()
	write(t, dir, "f", "text")
	for _, args := range [][]string{
		{"init", "--quiet"}, {"add", "f"}, {"-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "-m", "one"},
		{"tag", "v1"}, {"update-server-info"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(srv.Close)
	for _, advice := range []bool{true, false} {
		def, err := llb.Git(srv.URL+"/.git", "v1", llb.KeepGitDir(), llb.GitAdvice(advice)).Marshal(t.Context())
		check.OK(t, err)
		var logs bytes.Buffer
		ch := make(chan *bkclient.SolveStatus)
		var read sync.WaitGroup
		read.Go(func() {
			for st := range ch {
				for _, l := range st.Logs {
					logs.Write(l.Data)
				}
			}
		})
		_, err = d.Solve(t.Context(), def, bkclient.SolveOpt{}, ch)
		read.Wait()
		check.OK(t, err)
		check.Equal(t, "advice", bytes.Contains(logs.Bytes(), []byte("detached HEAD")), advice)
		check.OK(t, d.Prune(t.Context(), nil, bkclient.PruneAll))
	}
}
