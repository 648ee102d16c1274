package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/util/openfile"

	"github.com/tenonbuild/tenon/engine/filediff"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/engine/why"
)

// The bounds of what --diff shows: files, bytes of each, and lines of a file's diff.
const (
	maxDiffs     = 50
	maxDiffBytes = 1 << 20
	maxDiffLines = 200
)

// differ shows how texts became others. The files of contexts are in the store, as long as it
// keeps what was sent for the two builds. Nil shows nothing.
type differ struct {
	ctx   context.Context
	store *store.Store
	shown int
}

var errDiffElsewhere = errors.New("--diff reads the files that builds have left in the root, and a daemon has that: stop it first, or leave --diff out")

// diffing calls do with a differ, which has the root until then.
func (c *cli) diffing(ctx context.Context, do func(*differ) error) error {
	return c.work(ctx, func(w worker) error {
		if w.daemon != nil {
			return errDiffElsewhere
		}
		return do(&differ{ctx: ctx, store: w.engine.Store()})
	})
}

// show shows what changed in the texts of a cause.
func (d *differ) show(w io.Writer, cause *why.Cause) {
	if d == nil {
		return
	}
	switch {
	case cause.Kind == why.Command && strings.Contains(cause.Old+cause.New, "\n"):
		d.texts(w, cause.Old+"\n", cause.New+"\n")
	case cause.Kind == why.Files:
		d.files(w, cause)
	}
}

func (d *differ) texts(w io.Writer, old, now string) {
	lines, more := filediff.Unified(old, now, maxDiffLines)
	for _, l := range lines {
		fmt.Fprintf(w, "    %s\n", oneLineOf(l))
	}
	if more > 0 {
		fmt.Fprintf(w, "    and %d more lines\n", more)
	}
}

// oneLineOf is a line that is not too long.
func oneLineOf(l string) string {
	if r := []rune(l); len(r) > 500 {
		return string(r[:500]) + "…"
	}
	return l
}

// files shows what changed in files of a context.
func (d *differ) files(w io.Writer, cause *why.Cause) {
	var changed []treediff.Change
	for _, f := range cause.Files {
		if f.Kind == treediff.Content {
			changed = append(changed, f)
		}
	}
	was, is := cause.Sources()
	if len(changed) == 0 || was == nil || is == nil {
		return
	}
	old, err := d.open(was)
	if err != nil {
		fmt.Fprintf(w, "    what was in them before is not in the cache any more (%v)\n", err)
		return
	}
	defer old.close()
	now, err := d.open(is)
	if err != nil {
		fmt.Fprintf(w, "    what was in them is not in the cache any more (%v)\n", err)
		return
	}
	defer now.close()
	for _, f := range changed {
		if d.shown == maxDiffs {
			fmt.Fprintf(w, "    more files are not shown\n")
			return
		}
		d.shown++
		a, err := old.text(f.Path)
		b, err2 := now.text(f.Path)
		if err = errors.Join(err, err2); err != nil {
			fmt.Fprintf(w, "  %s: not shown: %s\n", oneLine(f.Path, 200), oneLine(err.Error(), 200))
			continue
		}
		fmt.Fprintf(w, "  %s\n", oneLine(f.Path, 200))
		d.texts(w, a, b)
	}
}

// tree is what was sent of a context.
type tree struct {
	dir     string
	unmount func() error
	ref     *store.Ref
}

func (d *differ) open(source *why.Step) (*tree, error) {
	ref, err := d.store.OfKeys(d.ctx, source.Keys)
	if err != nil {
		return nil, err
	}
	dir, unmount, err := store.ReadLocal(d.ctx, ref)
	if err != nil {
		return nil, errors.Join(err, ref.Release(d.ctx))
	}
	return &tree{dir, unmount, ref}, nil
}

// close ends the reading. What could not be unmounted is, when the root is opened again.
func (t *tree) close() { _ = errors.Join(t.unmount(), t.ref.Release(context.Background())) }

var (
	errBinary = errors.New("it is no text")
	errLarge  = fmt.Errorf("it has more than %d bytes", maxDiffBytes)
)

// text is what is in a file, if that is a text.
func (t *tree) text(name string) (string, error) {
	f, err := openfile.RegularInRoot(t.dir, name)
	if err != nil {
		if cause := (*os.PathError)(nil); errors.As(err, &cause) {
			err = cause.Err // where the tree is says nothing to anybody
		}
		return "", err
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxDiffBytes+1))
	switch {
	case err != nil:
		return "", err
	case len(dt) > maxDiffBytes:
		return "", errLarge
	case bytes.IndexByte(dt, 0) >= 0 || !utf8.Valid(dt):
		return "", errBinary
	}
	return string(dt), nil
}
