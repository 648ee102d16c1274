package store

import (
	"context"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// placed is a snapshotter that remembers in which directory the files of each
// snapshot are: containerd's do not say it of all, and what they say of the room that
// one takes is of its files only. Nor has it a Cleanup, which containerd's collection
// would call before it returns: see Store.gate.
type placed struct {
	snapshots.Snapshotter

	mu   sync.Mutex        // guards dirs
	dirs map[string]string // names below "snapshots", by key as it is on disk
}

// newPlaced begins with the directories that there are: keys by their names.
func newPlaced(s snapshots.Snapshotter, known map[string]string) *placed {
	p := &placed{Snapshotter: s, dirs: map[string]string{}}
	for name, key := range known {
		p.dirs[key] = name
	}
	return p
}

// Prepare implements snapshots.Snapshotter.
func (p *placed) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := p.Snapshotter.Prepare(ctx, key, parent, opts...)
	if err == nil {
		p.note(key, mounts)
	}
	return mounts, err
}

// note finds the directory in the mounts of a snapshot that can be written to.
func (p *placed) note(key string, mounts []mount.Mount) {
	if len(mounts) != 1 {
		return
	}
	path := mounts[0].Source
	for _, o := range mounts[0].Options {
		if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
			path = upper
		}
	}
	if filepath.Base(path) == "fs" { // as overlayfs has it
		path = filepath.Dir(path)
	}
	if filepath.Base(filepath.Dir(path)) != "snapshots" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirs[key] = filepath.Base(path)
}

// Commit implements snapshots.Snapshotter.
func (p *placed) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := p.Snapshotter.Commit(ctx, name, key, opts...); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if dir, ok := p.dirs[key]; ok {
		p.dirs[name] = dir
		delete(p.dirs, key)
	}
	return nil
}

// Remove implements snapshots.Snapshotter.
func (p *placed) Remove(ctx context.Context, key string) error {
	if err := p.Snapshotter.Remove(ctx, key); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dirs, key)
	return nil
}

// byKey returns the names of all directories by the key that containerd's metadata
// has for the snapshot, which puts "NAMESPACE/NUMBER/" before it.
func (p *placed) byKey() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]string, len(p.dirs))
	for key, dir := range p.dirs {
		if parts := strings.SplitN(key, "/", 3); len(parts) == 3 {
			out[parts[2]] = dir
		}
	}
	return out
}
