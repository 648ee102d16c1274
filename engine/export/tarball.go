package export

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/session"
)

// tarExporter writes trees as a tar archive.
type tarExporter struct {
	req Request
	opt treeOptions
}

func newTarball(req Request) (Exporter, error) {
	opt, err := parseTreeOptions(TypeTar, req.Attrs)
	if err != nil {
		return nil, err
	}
	if req.Open == nil {
		return nil, errors.New("output type=tar needs a file to write: dest=FILE, or - for standard output")
	}
	return &tarExporter{req: req, opt: opt}, nil
}

func (e *tarExporter) Name() string { return "exporting to client tarball" }

func (e *tarExporter) Export(ctx context.Context, src *Source, _ session.Session) (map[string]string, error) {
	resp := map[string]string{}
	err := withTrees(ctx, src, e.opt, func(trees []*tree) error {
		sent := startCounter(ctx, "sending tarball")
		defer sent.done()
		return writeTo(ctx, e.req.Open, resp, func(w io.Writer) error {
			return fsutil.WriteTar(ctx, forest(trees), stoppable{ctx, io.MultiWriter(w, sent)})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("writing archive: %w", err)
	}
	return resp, nil
}
