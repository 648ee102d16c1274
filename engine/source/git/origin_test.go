package git_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
)

// site is a server of repositories that notes the credentials it is sent, and may move
// repositories elsewhere.
type site struct {
	*server
	url   string
	mu    sync.Mutex // guards what follows
	got   map[string]bool
	moved map[string]string // where the beginning of a path leads
	posts string            // where requests that are posted are sent on to; "" for nowhere
	wants string            // the Authorization header that is demanded; "" for none
}

// newSite starts one that has the repositories of another, if not nil.
func newSite(t *testing.T, like *site) *site {
	t.Helper()
	s := &site{server: serve(t), got: map[string]bool{}, moved: map[string]string{}}
	s.url = s.URL
	if like != nil {
		s.dir = like.dir
	}
	s.before = s.answer
	return s
}

func (s *site) answer(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	auth := r.Header.Get("Authorization")
	s.got[auth] = true
	if s.wants != "" && auth != s.wants {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	if r.Method == http.MethodPost && s.posts != "" {
		http.Redirect(w, r, s.posts+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return true
	}
	for from, to := range s.moved {
		if rest, ok := strings.CutPrefix(r.URL.RequestURI(), from+"/"); ok {
			http.Redirect(w, r, to+"/"+rest, http.StatusFound)
			return true
		}
	}
	return false
}

// received returns the credentials that were sent, in order, and forgets them.
func (s *site) received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for a := range s.got {
		if a != "" {
			all = append(all, a)
		}
	}
	clear(s.got)
	return strings.Join(all, " and ")
}

func (s *site) place() string { return strings.TrimPrefix(s.url, "http://") }

// at is an operation on a repository of the site, which takes secrets as Dockerfiles do.
func (s *site) at(name string) *pb.SourceOp {
	o := s.op(name, "", pb.AttrAuthTokenSecret, "GIT_AUTH_TOKEN", pb.AttrAuthHeaderSecret, "GIT_AUTH_HEADER")
	o.Attrs[pb.AttrFullRemoteURL] = s.url + "/" + name
	_, place, _ := strings.Cut(s.url, "://")
	o.Identifier = "git://" + place + "/" + name
	return o
}

func lend(kv ...string) local.Options {
	var o local.Options
	for i := 0; i < len(kv); i += 2 {
		o.Secrets = append(o.Secrets, local.Secret{ID: kv[i], Value: []byte(kv[i+1])})
	}
	return o
}

// A secret goes to the place it is for, whatever servers redirect to, and so in
// submodules.
func TestSecretsAreBoundToOrigins(t *testing.T) {
	a := newSite(t, nil)
	b := newSite(t, a)
	sub := a.repo(t, "sub.git")
	sub.write("s", "sub")
	commit := sub.commit("one")
	for name, url := range map[string]string{"inside.git": a.URL + "/sub.git", "relative.git": "../sub.git",
		"outside.git": b.URL + "/sub.git", "moving.git": a.URL + "/moved/sub.git", "r.git": ""} {
		r := a.repo(t, name)
		r.write("f", "text")
		r.commit("one")
		if url != "" {
			r.submodule("sub", url, commit)
		}
	}
	a.moved["/moved"] = b.URL
	a.moved["/renamed"] = a.URL
	a.moved["/twice"] = a.URL + "/moved"
	a.moved["/endless"] = a.URL + "/endless"
	for n := range 4 {
		a.moved[fmt.Sprint("/hop", n)] = fmt.Sprint(a.URL, "/hop", n+1)
	}
	a.moved["/hop4"], a.moved["/hop"] = b.URL, a.URL+"/hop0"
	withPassword := func(name string) *pb.SourceOp {
		o := a.at(name)
		o.Attrs[pb.AttrFullRemoteURL] = strings.Replace(a.URL, "//", "//user:pw@", 1) + "/" + name
		return o
	}
	const password = "Basic dXNlcjpwdw=="
	general, forA, forB := lend("GIT_AUTH_HEADER", "Own G"), lend("GIT_AUTH_HEADER."+a.place(), "Own A"), lend("GIT_AUTH_HEADER."+b.place(), "Own B")
	both := lend("GIT_AUTH_HEADER."+a.place(), "Own A", "GIT_AUTH_HEADER."+b.place(), "Own B", "GIT_AUTH_HEADER", "Own G")
	for _, c := range []struct {
		name         string
		op           *pb.SourceOp
		opt          local.Options
		atA, atB     string
		wantA, wantB string // what the sites demand
		fails        string
	}{
		{"general", a.at("r.git"), general, "Own G", "", "Own G", "", ""},
		{"general, moved", a.at("moved/r.git"), general, "Own G", "", "Own G", "", ""},
		{"general, moved to who demands it", a.at("moved/r.git"), general, "Own G", "", "", "Own G", "GIT_AUTH_TOKEN.HOST"},
		{"general, renamed", a.at("renamed/r.git"), general, "Own G", "", "Own G", "", ""},
		{"general, renamed and moved", a.at("twice/r.git"), general, "Own G", "", "Own G", "", ""},
		{"general, submodule outside", a.at("outside.git"), general, "Own G", "", "", "", ""},
		{"general, submodule moved", a.at("moving.git"), general, "Own G", "", "", "", ""},
		{"general, moved five times", a.at("hop0/r.git"), general, "Own G", "", "Own G", "", ""},
		{"general, moved six times", a.at("hop/r.git"), general, "Own G", "", "Own G", "", "redirects more than"},
		{"general, moved without an end", a.at("endless/r.git"), general, "Own G", "", "Own G", "", "redirects more than"},
		{"named", a.at("inside.git"), forA, "Own A", "", "Own A", "", ""},
		{"named, relative", a.at("relative.git"), forA, "Own A", "", "Own A", "", ""},
		{"named, submodule outside", a.at("outside.git"), forA, "Own A", "", "Own A", "", ""},
		{"named, submodule moved", a.at("moving.git"), forA, "Own A", "", "Own A", "", ""},
		{"named, submodule moved to who demands it", a.at("moving.git"), forA, "Own A", "", "Own A", "Own A", "GIT_AUTH_TOKEN.HOST"},
		{"named twice, moved", a.at("moved/r.git"), both, "Own A", "Own B", "Own A", "Own B", ""},
		{"named twice, submodule outside", a.at("outside.git"), both, "Own A", "Own B", "Own A", "Own B", ""},
		{"named twice, submodule moved", a.at("moving.git"), both, "Own A", "Own B", "Own A", "Own B", ""},
		{"only the second is named", a.at("moved/r.git"), forB, "", "Own B", "", "Own B", ""},
		{"only the second is named, submodule", a.at("moving.git"), forB, "", "Own B", "", "Own B", ""},
		{"password", withPassword("inside.git"), local.Options{}, password, "", password, "", ""},
		{"password, moved", withPassword("moved/r.git"), local.Options{}, password, "", password, "", ""},
		{"password, submodule outside", withPassword("outside.git"), local.Options{}, password, "", password, "", ""},
		{"password, submodule moved", withPassword("moving.git"), local.Options{}, password, "", password, "", ""},
		{"a name that is another's", a.at("r.git"), lend("GIT_AUTH_HEADER.127.0.0.1", "No", "GIT_AUTH_HEADER.https://"+a.place(), "No"), "", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sourcetest.New(t)
			for s, wants := range map[*site]string{a: c.wantA, b: c.wantB} {
				s.received()
				s.mu.Lock()
				s.wants = wants
				s.mu.Unlock()
			}
			_, _, err := sourcetest.Solve(e.Build(t, c.opt), t, newSource(t, e), c.op)
			if c.fails == "" && err != nil {
				t.Error(err)
			}
			if c.fails != "" {
				wantError(t, err, c.fails)
			}
			if got := a.received(); got != c.atA {
				t.Errorf("the first received %q, want %q", got, c.atA)
			}
			if got := b.received(); got != c.atB {
				t.Errorf("the second received %q, want %q", got, c.atB)
			}
		})
	}
}

// What is posted is not sent on to another server, with or without a secret.
func TestPostsAreNotRedirected(t *testing.T) {
	a := newSite(t, nil)
	b := newSite(t, a)
	a.repo(t, "r.git").commit("one")
	a.posts = b.URL
	for _, opt := range []local.Options{{}, lend("GIT_AUTH_TOKEN", "secret")} {
		e := sourcetest.New(t)
		if _, _, err := sourcetest.Solve(e.Build(t, opt), t, newSource(t, e), a.at("r.git")); err == nil {
			t.Error("no error")
		}
		if len(b.got) != 0 {
			t.Errorf("the second was asked with %v", b.got)
		}
	}
}

// A redirect from https to http leads to another place, also on one host.
func TestSecretsAreBoundToTheScheme(t *testing.T) {
	plain := newSite(t, nil)
	secure := newSite(t, plain)
	plain.repo(t, "r.git").commit("one")
	tls := httptest.NewTLSServer(secure.server)
	t.Cleanup(tls.Close)
	secure.url = tls.URL
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_SSL_CAINFO", ca)
	secure.moved["/moved"] = plain.URL
	place := strings.TrimPrefix(tls.URL, "https://")
	for _, id := range []string{"GIT_AUTH_HEADER", "GIT_AUTH_HEADER." + place, "GIT_AUTH_HEADER.https://" + place} {
		for _, name := range []string{"r.git", "moved/r.git"} {
			e := sourcetest.New(t)
			if _, _, err := sourcetest.Solve(e.Build(t, lend(id, "Own S")), t, newSource(t, e), secure.at(name)); err != nil {
				t.Fatal(err)
			}
			if got := secure.received(); got != "Own S" {
				t.Errorf("%s, %s: https received %q", id, name, got)
			}
			if got := plain.received(); got != "" {
				t.Errorf("%s, %s: http received %q", id, name, got)
			}
		}
	}
}

// What this machine and its users have configured for git is neither sent nor run.
func TestTheMachinesConfigurationIsNotUsed(t *testing.T) {
	a := newSite(t, nil)
	b := newSite(t, a)
	r := a.repo(t, "r.git")
	r.write("f", "text")
	r.write(".gitattributes", "f filter=evil diff=evil\n")
	r.write(".gitconfig", "[core]\n\tfsmonitor = touch run-by-fsmonitor\n")
	r.commit("one")
	home, e := t.TempDir(), sourcetest.New(t)
	ran := filepath.Join(home, "ran")
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := write("script", "#!/bin/sh\necho \"$0 $*\" >> "+ran+"\nexit 1\n")
	config := "[url \"" + b.URL + "/\"]\n\tinsteadOf = " + a.URL + "/\n[credential]\n\thelper = !" + script +
		"\n[core]\n\taskPass = " + script + "\n\thooksPath = " + home + "/hooks\n\tfsmonitor = " + script + "\n\tsshCommand = " + script +
		"\n[filter \"evil\"]\n\tsmudge = " + script + "\n\tclean = " + script + "\n[http]\n\textraHeader = Authorization: Own M\n\tcookieFile = " + home + "/cookies\n"
	for _, hook := range []string{"post-checkout", "post-index-change", "reference-transaction", "post-merge"} {
		write("hooks/"+hook, "#!/bin/sh\ntouch "+ran+"\n")
	}
	write(".netrc", "machine 127.0.0.1 login jane password machine\n")
	write("cookies", "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tcookie\n")
	global := write(".gitconfig", config)
	write(".config/git/config", config)
	for k, v := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home + "/.config", "GIT_CONFIG_GLOBAL": global, "GIT_CONFIG_SYSTEM": global, "GIT_CONFIG": global,
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url." + b.URL + "/.insteadOf", "GIT_CONFIG_VALUE_0": a.URL + "/",
		"GIT_CONFIG_PARAMETERS": "'core.fsmonitor=" + script + "'", "GIT_ASKPASS": script, "SSH_ASKPASS": script, "GIT_SSH": script,
		"GIT_SSH_COMMAND": script, "GIT_PROXY_COMMAND": script, "GIT_EXTERNAL_DIFF": script, "GIT_PAGER": script, "GIT_EDITOR": script,
		"GIT_EXEC_PATH": home, "GIT_TEMPLATE_DIR": home, "GIT_DIR": home, "GIT_ALLOW_PROTOCOL": "ext:file", "GIT_TRACE": filepath.Join(home, "trace"),
	} {
		t.Setenv(k, v)
	}
	a.wants = "Own A"
	_, ref, err := sourcetest.Solve(e.Build(t, lend("GIT_AUTH_HEADER", "Own A")), t, newSource(t, e), a.at("r.git"))
	if err != nil {
		t.Fatal(err)
	}
	if files := sourcetest.Files(t, ref, ".git"); files["f"].Text != "text" {
		t.Errorf("the tree is %v", files)
	}
	if got := a.received(); got != "Own A" {
		t.Errorf("the server received %q", got)
	}
	// Also where nothing is lent, and the server asks.
	fails(t, e, newSource(t, e), a.at("r.git"), "GIT_AUTH_TOKEN")
	if got := a.received(); got != "" {
		t.Errorf("the server received %q", got)
	}
	if len(b.got) != 0 {
		t.Error("a server was asked that only the configuration of this machine names")
	}
	for _, name := range []string{"ran", "trace"} {
		if _, err := os.Stat(filepath.Join(home, name)); err == nil {
			dt, _ := os.ReadFile(filepath.Join(home, name))
			t.Errorf("something of this machine was run, or written: %s: %s", name, dt)
		}
	}
}
