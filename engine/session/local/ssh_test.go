package local_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"testing"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestParseSSH(t *testing.T) {
	for flag, want := range map[string]struct {
		id  string
		n   int
		raw bool
	}{
		"default":          {"default", 0, false},
		"a=/sock":          {"a", 1, false},
		"a=k1,k2":          {"a", 2, false},
		"a=/s=x":           {"a", 1, false},
		"a=/sock,raw=true": {"a", 1, true},
	} {
		got, err := local.ParseSSH(flag)
		if err != nil || got.ID != want.id || len(got.Paths) != want.n || got.Raw != want.raw {
			t.Errorf("%s: %+v, %v", flag, got, err)
		}
	}
	for flag, says := range map[string]string{
		"": "the id is missing", "=x": "the id is missing", "a=": "empty", "a=x,": "empty",
		"a=x,raw=maybe": "neither true nor false", "a=x,y,raw=true": "exactly one socket",
	} {
		_, err := local.ParseSSH(flag)
		wantError(t, err, says)
	}
}

func keyFile(t *testing.T, path string, key any, passphrase string) string {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return write(t, path, string(pem.EncodeToMemory(block)), 0o600)
}

// connect opens an agent of the session, until the test ends.
func connect(t *testing.T, s session.Session, id string) (agent.ExtendedAgent, net.Conn) {
	t.Helper()
	conn, err := s.SSH(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return agent.NewClient(conn), conn
}

// signs checks that the agent has n keys, that each signs, and that it cannot be changed.
func signs(t *testing.T, a agent.ExtendedAgent, n int) {
	t.Helper()
	keys, err := a.List()
	if err != nil || len(keys) != n {
		t.Fatalf("%d keys, %v; want %d", len(keys), err, n)
	}
	for _, k := range keys {
		var flags agent.SignatureFlags
		if k.Type() == ssh.KeyAlgoRSA {
			flags = agent.SignatureFlagRsaSha512
		}
		sig, err := a.SignWithFlags(k, []byte("data"), flags)
		if err != nil {
			t.Fatal(err)
		}
		if flags != 0 && sig.Format != ssh.KeyAlgoRSASHA512 {
			t.Errorf("signed with %s", sig.Format)
		}
		if err := k.Verify([]byte("data"), sig); err != nil {
			t.Error(err)
		}
	}
	if a.RemoveAll() == nil || a.Lock([]byte("x")) == nil {
		t.Error("a build could change the agent")
	}
	if keys, err := a.List(); err != nil || len(keys) != n {
		t.Errorf("then %d keys, %v", len(keys), err)
	}
}

func TestSSHKeys(t *testing.T) {
	dir := t.TempDir()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k1 := keyFile(t, dir+"/ed", ed, "")
	k2 := keyFile(t, dir+"/rsa", r, "")
	s := open(t, local.Options{SSH: []local.SSH{{Paths: []string{k1, k2}}, {ID: "one", Paths: []string{k1}}}})
	a, _ := connect(t, s, "")
	signs(t, a, 2)
	b, conn := connect(t, s, "one")
	signs(t, b, 1)
	if err := errors.Join(conn.Close(), conn.Close()); err != nil {
		t.Error(err)
	}
	if _, err := b.List(); err == nil {
		t.Error("a closed connection answers")
	}
	if _, err := s.SSH(t.Context(), "none"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("an agent that was not lent: %v", err)
	}

	one := func(paths ...string) local.Options { return local.Options{SSH: []local.SSH{{Paths: paths}}} }
	refused(t, one(dir+"/none"), `"default"`, dir+"/none")
	refused(t, one(keyFile(t, dir+"/locked", ed, "pass")), "has a passphrase", "ssh-add")
	refused(t, one(write(t, dir+"/text", "no key", 0o600)), "neither a socket nor a private key")
	refused(t, local.Options{SSH: []local.SSH{{}, {ID: "default"}}}, "")
	refused(t, local.Options{SSH: []local.SSH{{Paths: []string{k1}, Raw: true}}}, "no socket")
	t.Setenv("SSH_AUTH_SOCK", "")
	refused(t, one(), "SSH_AUTH_SOCK is not set")
}

func TestSSHSocket(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: ed}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ssh") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(keys, c)
				ended <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })

	t.Setenv("SSH_AUTH_SOCK", dir+"/s")
	s := open(t, local.Options{SSH: []local.SSH{{}, {ID: "raw", Paths: []string{dir + "/s"}, Raw: true}}})
	a, conn := connect(t, s, "default")
	signs(t, a, 1)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	<-ended // the real agent sees that we have gone
	raw, _ := connect(t, s, "raw")
	if err := raw.RemoveAll(); err != nil {
		t.Errorf("a raw socket is filtered: %v", err)
	}
	refused(t, local.Options{SSH: []local.SSH{{Paths: []string{dir + "/s", dir + "/s"}}}}, "cannot be combined")
}
