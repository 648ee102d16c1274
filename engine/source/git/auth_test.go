package git_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/session/sessiontest"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"golang.org/x/crypto/ssh"
)

// inProcesses reports whether a text is in the arguments of a process.
func inProcesses(t *testing.T, text string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		// A process that has ended meanwhile has none.
		if dt, err := os.ReadFile(f); err == nil && bytes.Contains(dt, []byte(text)) {
			return true
		}
	}
	return false
}

// onDisk reports whether a text is in a file below dir.
func onDisk(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		dt, err := os.ReadFile(path)
		found = found || bytes.Contains(dt, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestHTTPAuthorization(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "private")
	r.commit("one")
	const secret = "hunter2-very-secret"
	var seen bool
	srv.change(func() {
		srv.before = func(w http.ResponseWriter, r *http.Request) bool {
			if _, password, ok := r.BasicAuth(); r.Header.Get("Authorization") == "Own "+secret || ok && password == secret {
				seen = seen || inProcesses(t, secret)
				return false
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
	})
	lend := func(id, value string) local.Options {
		return local.Options{Secrets: []local.Secret{{ID: id, Value: []byte(value)}}}
	}
	attrs := []string{pb.AttrAuthTokenSecret, "GIT_AUTH_TOKEN", pb.AttrAuthHeaderSecret, "GIT_AUTH_HEADER", pb.AttrKeepGitDir, "true"}
	withPassword := srv.op("r.git", "", attrs...)
	withPassword.Attrs[pb.AttrFullRemoteURL] = strings.Replace(srv.URL, "//", "//user:"+secret+"@", 1) + "/r.git"
	src := newSource(t, e)
	for _, c := range []struct {
		op  *pb.SourceOp
		opt local.Options
	}{
		{srv.op("r.git", "", attrs...), lend("GIT_AUTH_TOKEN", secret+"\n")},
		{srv.op("r.git", "", attrs...), lend("GIT_AUTH_TOKEN."+srv.host(), secret)},
		{srv.op("r.git", "", attrs...), lend("GIT_AUTH_HEADER", "Own "+secret)},
		{withPassword, local.Options{}},
	} {
		if err := os.RemoveAll(e.Store.Path("git")); err != nil {
			t.Fatal(err)
		}
		src = newSource(t, e)
		_, ref, err := sourcetest.Solve(e.Build(t, c.opt), t, src, c.op)
		if err != nil {
			t.Fatal(err)
		}
		has(t, sourcetest.Files(t, ref, ".git"), map[string]string{"f": "private"})
	}
	// Beside a client that does not answer, too.
	besides := sourcetest.New(t)
	shared, _ := sessiontest.Beside(besides.Build(t, lend("GIT_AUTH_TOKEN", secret)), t, besides.Sessions)
	_, ref, err := sourcetest.Solve(shared, t, newSource(t, besides), srv.op("r.git", "", attrs...))
	if err != nil {
		t.Fatal(err)
	}
	has(t, sourcetest.Files(t, ref, ".git"), map[string]string{"f": "private"})
	if seen {
		t.Error("the secret is in the list of processes")
	}
	if onDisk(t, e.Store.Path(".."), secret) {
		t.Error("the secret is on the disk")
	}

	fails(t, e, src, srv.op("r.git", "", attrs...), "GIT_AUTH_TOKEN")
	_, _, err = sourcetest.Solve(e.Build(t, lend("GIT_AUTH_HEADER", "Own "+secret+"\nx")), t, src, srv.op("r.git", "", attrs...))
	wantError(t, err, "GIT_AUTH_HEADER", "several lines")
	// What the server says back is not shown either.
	srv.change(func() {
		srv.before = func(w http.ResponseWriter, r *http.Request) bool {
			_, password, _ := r.BasicAuth()
			http.Error(w, "you sent "+password, http.StatusForbidden)
			return true
		}
	})
	for _, o := range []*pb.SourceOp{srv.op("r.git", "", attrs...), withPassword} {
		_, _, err = sourcetest.Solve(e.Build(t, lend("GIT_AUTH_TOKEN", secret)), t, src, o)
		wantError(t, err, "403")
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

// sshServer serves git-upload-pack over ssh to who has the key.
type sshServer struct {
	addr    string
	hostKey string // a line of known_hosts
}

func newSigner(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer, key
}

func serveSSH(t *testing.T, allowed ssh.PublicKey) *sshServer {
	t.Helper()
	host, _ := newSigner(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serveConn(conn, config) })
		}
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return &sshServer{
		addr:    l.Addr().String(),
		hostKey: "[127.0.0.1]:" + port + " " + string(ssh.MarshalAuthorizedKey(host.PublicKey())),
	}
}

func serveConn(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		for req := range reqs {
			if req.Type != "exec" {
				_ = req.Reply(false, nil)
				continue
			}
			_ = req.Reply(true, nil)
			command := string(req.Payload[4:]) // git-upload-pack 'path'
			cmd := exec.Command("sh", "-c", command)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			status := make([]byte, 4)
			if cmd.Run() != nil {
				status[3] = 1
			}
			_, _ = ch.SendRequest("exit-status", false, status)
			_ = ch.Close()
		}
	}
}

func TestSSH(t *testing.T) {
	testenv.Tool(t, "ssh")
	for name, dir := range map[string]string{"short": "s", "too long for a socket": strings.Repeat("l", 110)} {
		t.Run(name, func(t *testing.T) {
			tmp, err := os.MkdirTemp("", "t")
			check.OK(t, err)
			t.Cleanup(func() { check.OK(t, os.RemoveAll(tmp)) })
			tmp = filepath.Join(tmp, dir)
			check.OK(t, os.Mkdir(tmp, 0o700))
			t.Setenv("TMPDIR", tmp)
			testSSH(t, tmp)
		})
	}
}

// testSSH has all in tmp.
func testSSH(t *testing.T, tmp string) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "by ssh")
	r.commit("one")
	signer, key := newSigner(t)
	_, otherKey := newSigner(t)
	sshd := serveSSH(t, signer.PublicKey())
	keyFile := func(key ed25519.PrivateKey) local.Options {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		return local.Options{SSH: []local.SSH{{Paths: []string{path}}}}
	}
	op := func(known string) *pb.SourceOp {
		return &pb.SourceOp{Identifier: "git://" + sshd.addr + r.dir, Attrs: map[string]string{
			pb.AttrFullRemoteURL: "ssh://git@" + sshd.addr + r.dir,
			pb.AttrMountSSHSock:  "default", pb.AttrKnownSSHHosts: known,
		}}
	}
	src := newSource(t, e)
	for _, known := range []string{sshd.hostKey, ""} {
		if err := os.RemoveAll(e.Store.Path("git")); err != nil {
			t.Fatal(err)
		}
		src = newSource(t, e)
		_, ref, err := sourcetest.Solve(e.Build(t, keyFile(key)), t, src, op(known))
		if err != nil {
			t.Fatal(err)
		}
		has(t, sourcetest.Files(t, ref), map[string]string{"f": "by ssh"})
	}
	// Beside a client that does not answer, too.
	besides := sourcetest.New(t)
	shared, _ := sessiontest.Beside(besides.Build(t, keyFile(key)), t, besides.Sessions)
	_, ref, err := sourcetest.Solve(shared, t, newSource(t, besides), op(sshd.hostKey))
	if err != nil {
		t.Fatal(err)
	}
	has(t, sourcetest.Files(t, ref), map[string]string{"f": "by ssh"})
	_, _, err = sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(""))
	wantError(t, err, "no SSH agent", "--ssh default")
	if !errors.Is(err, session.ErrNotFound) {
		t.Errorf("%v", err)
	}
	_, _, err = sourcetest.Solve(e.Build(t, keyFile(otherKey)), t, src, op(""))
	wantError(t, err, "Permission denied", "--ssh default")
	other, _ := newSigner(t)
	_, _, err = sourcetest.Solve(e.Build(t, keyFile(key)), t, src, op(strings.Replace(sshd.hostKey, sshd.hostKey[strings.Index(sshd.hostKey, " ")+1:],
		string(ssh.MarshalAuthorizedKey(other.PublicKey())), 1)))
	wantError(t, err, "Host key verification failed", "knownsshhosts")
	for _, where := range []string{filepath.Join(tmp, "tenon-*"), e.Store.Path("git", "tmp-*")} {
		left, err := filepath.Glob(where)
		if err != nil || len(left) != 0 {
			t.Errorf("sockets are left: %v, %v", left, err)
		}
	}
}

// A build that is cancelled does not wait for a server that says nothing.
func TestCancel(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	srv.repo(t, "r.git").commit("one")
	asked := make(chan struct{})
	var once sync.Once
	srv.change(func() {
		srv.before = func(_ http.ResponseWriter, r *http.Request) bool {
			once.Do(func() { close(asked) })
			<-r.Context().Done()
			return true
		}
	})
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(e.Build(t, local.Options{}))
	var wg sync.WaitGroup
	wg.Go(func() {
		<-asked
		cancel(why)
	})
	_, _, err := sourcetest.Solve(ctx, t, newSource(t, e), srv.op("r.git", ""))
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	wg.Wait()
}
