package export

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	gofs "io/fs"
	"path"
	"strings"

	"github.com/moby/buildkit/solver/result"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil/types"
)

// attest adds to a tree what there is to say of it, each statement as a file at the top,
// about all files of the tree. Platform, if it is not "", becomes a part of the names.
func (t *tree) attest(ctx context.Context, p Platform, prefix, platform string) error {
	all := wanted(p.Attestations, false)
	if len(all) == 0 {
		return nil
	}
	statements, err := readAttestations(ctx, all, nil)
	if err != nil {
		return err
	}
	subjects, err := t.subjects(ctx)
	if err != nil {
		return err
	}
	files := staticfs.NewFS()
	seen := map[string]bool{}
	for _, s := range statements {
		st, err := s.about(subjects)
		if err != nil {
			return err
		}
		dt, err := json.MarshalIndent(st, "", "  ")
		if err != nil {
			return fmt.Errorf("attestation %q: %w", s.name, err)
		}
		name := prefix + path.Base(s.name)
		if platform != "" {
			ext := path.Ext(name)
			name = strings.TrimSuffix(name, ext) + "." + platform + ext
		}
		if seen[name] {
			return fmt.Errorf("two attestations would go to the file %s", name)
		}
		seen[name] = true
		files.Add(name, &types.Stat{Path: name, Mode: 0o600, ModTime: t.when.UnixNano()}, dt)
	}
	t.fs = staticfs.NewMergeFS(t.fs, files)
	return nil
}

// subjects are the files of a tree.
func (t *tree) subjects(ctx context.Context) ([]subject, error) {
	subjects := []subject{}
	err := walkAll(ctx, t.fs, "", func(p string, d gofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := t.fs.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := digest.Canonical.Digester()
		if _, err := io.Copy(stoppable{ctx, sum.Hash()}, f); err != nil {
			return err
		}
		subjects = append(subjects, subject{Name: p, Digest: result.ToDigestMap(sum.Digest())})
		return nil
	})
	return subjects, err
}
