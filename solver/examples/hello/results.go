package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// text is a solver.Result: plain data, that needs no releasing.
type text string

func (t text) ID() string                    { return digest.FromString(string(t)).Encoded() }
func (t text) Sys() interface{}              { return string(t) }
func (t text) Release(context.Context) error { return nil }

func textOf(r solver.Result) string { return r.Sys().(string) }

// resultFiles is a solver.CacheResultStorage: each result is a file of a folder,
// named by its ID.
type resultFiles string

func (dir resultFiles) path(id string) string { return filepath.Join(string(dir), id) }

// Save writes to a temporary file first: half a result must not be found.
func (dir resultFiles) Save(r solver.Result) (solver.CacheResult, error) {
	res := solver.CacheResult{ID: r.ID(), CreatedAt: time.Now()}
	f, err := os.CreateTemp(string(dir), "new-")
	if err != nil {
		return res, err
	}
	_, err = f.WriteString(textOf(r))
	if err := errors.Join(err, f.Close()); err != nil {
		return res, errors.Join(err, os.Remove(f.Name()))
	}
	return res, os.Rename(f.Name(), dir.path(res.ID))
}

func (dir resultFiles) Load(_ context.Context, res solver.CacheResult) (solver.Result, error) {
	data, err := os.ReadFile(dir.path(res.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, solver.ErrNotFound
	}
	return text(data), err
}

func (dir resultFiles) LoadRemote(context.Context, solver.CacheResult) (*solver.Remote, error) {
	return nil, nil
}

func (dir resultFiles) Exists(id string) bool {
	_, err := os.Stat(dir.path(id))
	return err == nil
}
