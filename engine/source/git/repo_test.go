package git_test

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// server serves repositories by git's own http backend, on loopback.
type server struct {
	*httptest.Server
	dir     string
	backend string

	mu    sync.Mutex // guards what is below
	asked int        // requests
	// v0 speaks the protocol in which only what is advertised is given out.
	v0 bool
	// before may answer instead, and then returns true.
	before func(http.ResponseWriter, *http.Request) bool
}

func serve(t *testing.T) *server {
	t.Helper()
	testenv.Tool(t, "git")
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{dir: t.TempDir(), backend: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked++
	before, v0 := s.before, s.v0
	s.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	if v0 {
		r.Header.Del("Git-Protocol")
	}
	(&cgi.Handler{Path: s.backend, Env: []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}).ServeHTTP(w, r)
}

func (s *server) change(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// requests returns how many requests there were since the last time.
func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.asked
	s.asked = 0
	return n
}

// host is host:port.
func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// repo is a repository with a working tree, below a server.
type repo struct {
	t   *testing.T
	dir string
	env []string // of git, beside what it always has
}

func (s *server) repo(t *testing.T, name string) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(s.dir, name)}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "--quiet", "--initial-branch=main")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nowhere", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file:http",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example",
		"GIT_AUTHOR_DATE=2001-02-03T04:05:06Z", "GIT_COMMITTER_DATE=2001-02-03T04:05:06Z"}
	cmd.Env = append(cmd.Env, r.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) write(path, text string) {
	r.t.Helper()
	path = filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits all that is there, and returns the commit.
func (r *repo) commit(message string) string {
	r.t.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

// submodule adds one by a URL as it is to be in the repository, of a commit.
func (r *repo) submodule(path, url, commit string) {
	r.t.Helper()
	r.git("config", "--file", ".gitmodules", "submodule."+path+".path", path)
	r.git("config", "--file", ".gitmodules", "submodule."+path+".url", url)
	r.git("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	r.git("add", ".gitmodules")
	r.git("commit", "--quiet", "-m", "submodule")
}

func newSource(t *testing.T, e *sourcetest.Env) *git.Source {
	t.Helper()
	s, err := git.New(git.Options{Store: e.Store, Sessions: e.Sessions, Wait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// op is an operation on a repository of the server. Fragment is "", or begins with #.
func (s *server) op(name, fragment string, attrs ...string) *pb.SourceOp {
	o := &pb.SourceOp{
		Identifier: fmt.Sprintf("git://%s/%s%s", s.host(), name, fragment),
		Attrs:      map[string]string{pb.AttrFullRemoteURL: s.URL + "/" + name},
	}
	for i := 0; i < len(attrs); i += 2 {
		o.Attrs[attrs[i]] = attrs[i+1]
	}
	return o
}

// solve solves op in a build of its own, and returns the files. What is in .git is
// left out.
func solve(t *testing.T, e *sourcetest.Env, src *git.Source, o *pb.SourceOp) (key string, files map[string]sourcetest.File) {
	t.Helper()
	key, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, o)
	if err != nil {
		t.Fatal(err)
	}
	return key, sourcetest.Files(t, ref, ".git")
}

func fails(t *testing.T, e *sourcetest.Env, src *git.Source, o *pb.SourceOp, says ...string) error {
	t.Helper()
	_, _, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, o)
	wantError(t, err, says...)
	return err
}

func wantError(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

// has checks that a tree is these files, of these texts.
func has(t *testing.T, files map[string]sourcetest.File, want map[string]string) {
	t.Helper()
	n := 0
	for path, f := range files {
		if f.Mode.IsDir() {
			continue
		}
		n++
		if text, ok := want[path]; !ok || text != f.Text {
			t.Errorf("%s is %q, want %q (%v)", path, f.Text, text, ok)
		}
	}
	if n != len(want) {
		t.Errorf("there are %d files, want %d: %v", n, len(want), files)
	}
}
