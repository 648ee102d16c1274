package control_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/internal/check"
)

// frontendImage is the frontend in testdata, as an image. Of a build with attributes it
// gives the options.
func frontendImage(t *testing.T) func(attrs map[string]string) bkclient.SolveOpt {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "run"), "./testdata/frontend")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	return func(attrs map[string]string) bkclient.SolveOpt {
		opt := bkclient.SolveOpt{
			Frontend:      "gateway.v0",
			FrontendAttrs: map[string]string{"source": "frontend", "context:frontend": "local:image"},
			LocalMounts:   map[string]fsutil.FS{"image": fs},
		}
		maps.Copy(opt.FrontendAttrs, attrs)
		return opt
	}
}

// A frontend that is an image builds by the gateway API, over its standard input and output.
func TestFrontendImage(t *testing.T) {
	d := start(t)
	out := t.TempDir()
	opt := frontendImage(t)(map[string]string{"text": "made by an image"})
	opt.Exports = toDir(out)
	_, err := d.Solve(t.Context(), nil, opt, nil)
	check.OK(t, err)
	d.has(out, "out", "made by an image")
}

// A frontend that is an image and dies, hangs up, says nothing or asks for too much fails
// its build, which says why; one that does not answer ends with the client.
func TestBadFrontendImages(t *testing.T) {
	d := start(t)
	build := frontendImage(t)
	for do, want := range map[string]string{
		"die":     "its last words",
		"nothing": "returned nothing",
		"host":    "network.host is not allowed",
	} {
		_, err := d.Solve(t.Context(), nil, build(map[string]string{"do": do}), nil)
		check.Says(t, err, want)
	}
	for attr, want := range map[string]string{"frontend.caps": "a.cap", "source": "no source"} {
		opt := build(map[string]string{"frontend.caps": "a.cap"})
		if attr == "source" {
			delete(opt.FrontendAttrs, "source")
		}
		_, err := d.Solve(t.Context(), nil, opt, nil)
		check.Says(t, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opt := build(map[string]string{"do": "hang"})
	status := make(chan *bkclient.SolveStatus)
	go func() {
		defer cancel()
		for st := range status {
			if len(st.Warnings) > 0 { // it hangs now
				return
			}
		}
	}()
	if _, err := d.Solve(ctx, nil, opt, status); err == nil || !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("a frontend that hangs: %v", err)
	}
}
