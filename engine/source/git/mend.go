package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Git reads most files outside objects whole, and waits for a pipe in their place.
const (
	// maxList is how many bytes a file may have that has a line for each ref or commit.
	maxList = 256 << 20
	// maxRef is how many bytes a file may have that has the name of an object.
	maxRef = 4096
)

// look throws away what is kept of the repository if there is something in it that git
// has not put there, before git reads it.
func (b *bare) look(ctx context.Context) error {
	errOdd := errors.New("")
	err := fs.WalkDir(os.DirFS(b.dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		why, err := odd(name, e)
		if err == nil && why != "" {
			errOdd = fmt.Errorf("%s %s", name, why)
			err = errOdd
		}
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == errOdd:
		return b.forget(err)
	case err != nil:
		return fmt.Errorf("git source: %w", err)
	}
	return nil
}

// odd says what is wrong with a file of a bare repository.
func odd(name string, e fs.DirEntry) (string, error) {
	parts := strings.Split(name, "/")
	top := parts[0]
	inside := top == "objects" || top == "refs" || top == "info"
	folder := name == "." || inside && len(parts) == 1 || top != "info" && inside && len(parts) == 2
	switch {
	case folder && !e.IsDir():
		return "is no directory", nil
	case e.IsDir() && (folder || inside && parts[1] != "pack"):
		return "", nil
	case !e.Type().IsRegular():
		return "is no file", nil
	case top == "objects":
		return "", nil
	}
	fi, err := e.Info()
	if err != nil {
		return "", err
	}
	limit := int64(maxList)
	if top == "refs" || name == "HEAD" || name == noteFile {
		limit = maxRef
	}
	if fi.Size() > limit {
		return fmt.Sprintf("has %d bytes, and may have %d", fi.Size(), limit), nil
	}
	return "", nil
}

// forget throws away what is kept of the repository.
func (b *bare) forget(why error) error {
	b.progress.Log(2, fmt.Appendf(nil, "what is kept of the repository is damaged (%v): fetching it anew\n", why))
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("git source: %w", err)
	}
	return nil
}

// mending calls use, and once more with nothing kept of the repository if what is
// kept turns out to be damaged.
func (b *bare) mending(ctx context.Context, use func() error) error {
	err := use()
	if err == nil || !broken(err) || ctx.Err() != nil {
		return err
	}
	if err := b.forget(err); err != nil {
		return err
	}
	return use()
}
