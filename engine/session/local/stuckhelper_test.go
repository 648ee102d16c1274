package local_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/internal/check"
)

// A helper that does not answer is waited for as long as somebody wants to wait, also
// by who comes second.
func TestCredentialHelperThatHangs(t *testing.T) {
	dir := t.TempDir()
	for _, pipe := range []string{"/asked", "/go"} {
		check.OK(t, syscall.Mkfifo(dir+pipe, 0o600))
	}
	write(t, dir+"/docker-credential-stuck", "#!/bin/sh\necho > "+dir+"/asked\nread x < "+dir+"/go\nexit 1\n", 0o755)
	write(t, dir+"/config.json", `{"credHelpers": {"some.example": "stuck"}}`, 0o600)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s := open(t, local.Options{DockerConfig: dir})
	first, stopFirst := context.WithCancel(t.Context())
	second, stopSecond := context.WithCancel(t.Context())
	defer stopSecond()
	var g, h errgroup.Group
	g.Go(func() error {
		_, err := s.Credentials(first, "some.example", "some/app")
		return err
	})
	_, err := os.ReadFile(dir + "/asked") // it has begun
	check.OK(t, err)
	h.Go(func() error {
		_, err := s.Credentials(second, "some.example", "some/app")
		return err
	})
	stopFirst()
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	stopSecond()
	if err := h.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the second: %v", err)
	}
	check.OK(t, os.WriteFile(dir+"/go", []byte("x\n"), 0)) // it ends, too
}
