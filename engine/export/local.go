package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tonistiigi/fsutil"
)

// localExporter writes trees into a directory.
type localExporter struct {
	dir   string
	opt   treeOptions
	umask os.FileMode
}

func newLocal(req Request) (Exporter, error) {
	opt, err := parseTreeOptions(TypeLocal, req.Attrs)
	if err != nil {
		return nil, err
	}
	if req.Remote != nil {
		return &remoteExporter{to: req.Remote, opt: opt}, nil
	}
	if req.Dir == "" {
		return nil, errors.New("output type=local needs dest=DIRECTORY")
	}
	dir, err := filepath.Abs(req.Dir)
	if err != nil {
		return nil, err
	}
	if opt.mirror && dir == "/" {
		return nil, errors.New("output type=local,mode=delete would empty /: name a directory below it")
	}
	return &localExporter{dir: dir, opt: opt, umask: req.Umask}, nil
}

func (e *localExporter) Name() string { return "exporting to client directory" }

func (e *localExporter) Export(ctx context.Context, src *Source, _ session.Session) (map[string]string, error) {
	err := withTrees(ctx, src, e.opt, func(trees []*tree) (err error) {
		if err := os.MkdirAll(e.dir, 0o777&^e.umask); err != nil {
			return err
		}
		root, err := os.OpenRoot(e.dir)
		if err != nil {
			return err
		}
		top := fsutil.NewRoot(root)
		defer func() { err = errors.Join(err, top.Close()) }()
		w := newDirWriter(ctx, top, e.opt)
		defer func() { err = errors.Join(err, w.close()) }()
		for _, t := range trees {
			if err := e.copy(ctx, w, t); err != nil {
				return err
			}
		}
		return w.finish()
	})
	var place *OutputError
	if errors.As(err, &place) {
		place.Path = filepath.Join(e.dir, place.Path)
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("writing to %s: %w", e.dir, err)
	}
	return map[string]string{}, nil
}

func (e *localExporter) copy(ctx context.Context, w *dirWriter, t *tree) error {
	what := "copying files"
	if t.prefix != "" {
		what += " " + t.id
	}
	t.mode = 0o777 &^ e.umask
	w.copied = startCounter(ctx, what)
	defer w.copied.done()
	return t.Walk(ctx, "", w.entry(t))
}
