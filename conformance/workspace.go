package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// workspace has what tests are run with.
type workspace struct {
	options
	dir     string // of this run: short, since there are sockets below it
	source  string // BuildKit's, for reading
	copied  string // the same: tests run in it
	mirror  string // a registry's storage
	foreign net.Listener
}

// kept is the path of something that stays for the next run.
func (w *workspace) kept(name string) string { return filepath.Join(w.cache, name) }

// prepare makes all that the plans need.
func prepare(ctx context.Context, o options, plans []*plan) (_ *workspace, err error) {
	w := &workspace{options: o}
	if err := os.MkdirAll(o.cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, w.kept("lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if w.dir, err = os.MkdirTemp("/tmp", "cf"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.source, err = download(ctx); err != nil {
		return nil, err
	}
	if err := w.copySource(ctx); err != nil {
		return nil, err
	}
	if err := w.programs(ctx, plans); err != nil {
		return nil, err
	}
	if err := w.keys(ctx); err != nil {
		return nil, err
	}
	if err := w.images(ctx); err != nil {
		return nil, err
	}
	return w, w.special(ctx, plans)
}

// special makes what single suites need.
func (w *workspace) special(ctx context.Context, plans []*plan) error {
	for _, p := range plans {
		if p.name == "gateway" {
			if err := w.frontend(); err != nil {
				return err
			}
		}
		if p.compat {
			if err := w.recordings(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *workspace) close() {
	if w.foreign != nil {
		_ = w.foreign.Close()
	}
	_ = os.RemoveAll(w.dir)
}

// copySource copies BuildKit's source: as root, tests could change what Go has downloaded.
func (w *workspace) copySource(ctx context.Context) error {
	w.copied = w.kept("source")
	if _, err := os.Stat(w.copied); err == nil {
		return nil
	}
	if err := command(ctx, nil, "cp", "-r", "--no-preserve=mode", w.source, w.copied+".new"); err != nil {
		return err
	}
	return os.Rename(w.copied+".new", w.copied)
}

// keys makes the keys and signatures of the tests of signed sources, by scripts of
// BuildKit's. Its program that signs a commit by SSH knows other files than Debian's git
// has.
func (w *workspace) keys(ctx context.Context) error {
	dir := w.kept("keys")
	if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	env := []string{"BUILDKIT_TEST_SIGN_FIXTURES=" + dir}
	for _, user := range []string{"user1", "user2"} {
		for _, kind := range []string{"gpg", "ssh"} {
			if err := command(ctx, env, "sh", filepath.Join(w.source, "hack/fixtures/gen_"+kind+"_test_env.sh"), user); err != nil {
				return err
			}
		}
		sign := fmt.Sprintf("#!/bin/sh\nfor f; do :; done\nexec ssh-keygen -q -Y sign -n git -f %s/.ssh/%s.id_ed25519 \"$f\" </dev/null\n", dir, user)
		if err := os.WriteFile(filepath.Join(dir, user+".git_ssh_sign.sh"), []byte(sign), 0o755); err != nil {
			return err
		}
	}
	if err := command(ctx, []string{"GNUPGHOME=" + filepath.Join(dir, "gnupg")}, "gpgconf", "--kill", "all"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "done"), nil, 0o644)
}

// serveForeign answers whoever asks for a layer elsewhere than in the registry: it is not
// there.
func (w *workspace) serveForeign(ctx context.Context) (url string, err error) {
	var c net.ListenConfig
	if w.foreign, err = c.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return "", err
	}
	s := &http.Server{Handler: http.NotFoundHandler()}
	go s.Serve(w.foreign) //nolint:errcheck // it ends with the listener
	return "http://" + w.foreign.Addr().String() + "/foreign", nil
}

// command runs a program; what it says is told where it fails.
func command(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
