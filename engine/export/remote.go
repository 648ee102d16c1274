package export

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/util/staticfs"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/session"
)

// remoteExporter sends trees to a caller who is elsewhere, and decides there what is
// written.
type remoteExporter struct {
	to  Remote
	opt treeOptions
}

func (*remoteExporter) Name() string { return "exporting to client directory" }

func (e *remoteExporter) Export(ctx context.Context, src *Source, _ session.Session) (map[string]string, error) {
	err := withTrees(ctx, src, e.opt, func(trees []*tree) error {
		if e.opt.mirror {
			// All at once: what is not sent is removed.
			var all fsutil.FS = trees[0]
			for _, t := range trees[1:] {
				all = staticfs.NewMergeFS(all, t)
			}
			return e.send(ctx, "copying files", all)
		}
		for _, t := range trees {
			what := "copying files"
			if t.prefix != "" {
				what += " " + t.id
			}
			if err := e.send(ctx, what, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sending files: %w", err)
	}
	return map[string]string{}, nil
}

func (e *remoteExporter) send(ctx context.Context, what string, files fsutil.FS) error {
	c := startCounter(ctx, what)
	defer c.done()
	return e.to.Send(ctx, files, e.opt.mirror, c.set)
}
