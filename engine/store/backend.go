package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/snapshot"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// namespace is that of everything in containerd's stores.
const namespace = "tenon"

// The snapshotters there are. The names are containerd's.
const (
	overlayName = "overlayfs"
	nativeName  = "native"
)

// backend is containerd's storage, embedded: its stores, and the file that holds
// their metadata and our records.
type backend struct {
	file *bolt.DB
	meta *metadata.DB
	// blobs are what content keeps the names for.
	blobs   content.Store
	content content.Store
	images  images.Store
	leases  leases.Manager
	// disk is the snapshotter itself, which meta keeps the names for, and places
	// where it has them.
	disk   snapshots.Snapshotter
	places *placed
	// snaps is the snapshotter to be used.
	snaps snapshot.MergeSnapshotter
	name  string
	// overlayOptions are for every overlay mount.
	overlayOptions []string
}

func openBackend(ctx context.Context, root, snapshotter string, tell func(string)) (_ *backend, err error) {
	b := &backend{name: snapshotter}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if snapshotter == overlayName {
		b.overlayOptions = overlayOptions(root)
	}
	known, err := cleanSnapshots(filepath.Join(root, snapshotter))
	if err != nil {
		return nil, fmt.Errorf("snapshotter %s: %w", snapshotter, err)
	}
	if b.disk, err = openSnapshotter(root, snapshotter, b.overlayOptions); err != nil {
		return nil, err
	}
	b.places = newPlaced(b.disk, known)
	// What was being written when a process died is written again.
	if err := removePrefixed(filepath.Join(root, contentDir, "ingest"), ""); err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	if b.blobs, err = contentlocal.NewStore(filepath.Join(root, contentDir)); err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	// Their names last from Store.finish on, and so they are there before the first blob and
	// the first snapshot are.
	if err := os.MkdirAll(filepath.Join(root, contentDir, "blobs", digest.Canonical.String()), 0o700); err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	if _, err := b.disk.Stat(ctx, "none"); err != nil && !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("snapshotter %s: %w", snapshotter, err)
	}
	name := filepath.Join(root, "metadata.db")
	// The root's lock is ours, so that the file's is free or held by a mistake.
	b.file, err = bolt.Open(name, 0o600, &bolt.Options{Timeout: 10 * time.Second, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	checked := &checkedContent{disk: b.blobs, dir: filepath.Join(root, contentDir), tell: tell, sound: map[digest.Digest]fileState{}}
	b.meta = metadata.NewDB(b.file, forgetful{b.blobs, checked}, map[string]snapshots.Snapshotter{snapshotter: b.places})
	if err := b.meta.Init(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	checked.Store, checked.meta = containerdsnapshot.NewContentStore(b.meta.ContentStore(), namespace), b.meta
	b.content = checked
	b.images = nsImages{metadata.NewImageStore(b.meta)}
	b.leases = metadata.NewLeaseManager(b.meta)
	b.snaps = snapshot.NewMergeSnapshotter(ctx, snapshot.FromContainerdSnapshotter(snapshotter, b.meta.Snapshotter(snapshotter), nil), b.leases)
	return b, nil
}

func (b *backend) close() error {
	var errs []error
	if b.disk != nil {
		errs = append(errs, b.disk.Close())
	}
	if b.meta != nil {
		errs = append(errs, b.meta.Close())
	}
	if b.file != nil {
		errs = append(errs, b.file.Close())
	}
	return errors.Join(errs...)
}

// pickSnapshotter chooses a snapshotter for a new root: overlayfs where a mount
// of it works on the root's file system.
func pickSnapshotter(root, want string) (string, error) {
	switch want {
	case nativeName:
		return nativeName, nil
	case "", overlayName:
	default:
		return "", fmt.Errorf("snapshotter %q: there are %s and %s", want, overlayName, nativeName)
	}
	try := filepath.Join(root, stateDir)
	if err := os.MkdirAll(try, 0o700); err != nil {
		return "", fmt.Errorf("root %s: %w", root, rootError(root, err))
	}
	err := overlayutils.Supported(try)
	if err == nil {
		return overlayName, nil
	}
	if want == overlayName {
		return "", fmt.Errorf("snapshotter %s does not work in %s: use %s, or choose a root on another file system: %w", overlayName, root, nativeName, err)
	}
	return nativeName, nil
}

func openSnapshotter(root, name string, options []string) (snapshots.Snapshotter, error) {
	dir := filepath.Join(root, name)
	var sn snapshots.Snapshotter
	var err error
	switch name {
	case overlayName:
		// Removed snapshots are taken off the disk by Cleanup, all at once: when one
		// is removed on its own all others are looked at.
		sn, err = overlay.NewSnapshotter(dir, overlay.AsynchronousRemove, overlay.WithUpperdirLabel, overlay.WithMountOptions(options))
	case nativeName:
		sn, err = native.NewSnapshotter(dir)
	default:
		return nil, fmt.Errorf("root %s uses the snapshotter %q, which this version does not have", root, name)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshotter %s: %w", name, err)
	}
	return sn, nil
}

// overlayOptions are those of every overlay mount. A step's upper directory must
// hold what the step has written as it is: so the kernel may leave no redirects
// and no files without content in it.
func overlayOptions(root string) []string {
	const parameters = "/sys/module/overlay/parameters/"
	var opts []string
	if _, err := os.Stat(parameters + "index"); err == nil {
		opts = append(opts, "index=off")
	}
	if userns.RunningInUserNS() { // which allows neither of the others
		if needs, err := overlayutils.NeedsUserXAttr(root); err == nil && needs {
			opts = append(opts, "userxattr")
		}
		return opts
	}
	if _, err := os.Stat(parameters + "redirect_dir"); err == nil {
		opts = append(opts, "redirect_dir=off")
	}
	if dt, err := os.ReadFile(parameters + "metacopy"); err == nil && len(dt) > 0 && dt[0] == 'Y' {
		opts = append(opts, "metacopy=off")
	}
	return opts
}

// userNotes says whether overlayfs keeps its notes in attributes of users.
func (b *backend) userNotes() bool { return slices.Contains(b.overlayOptions, "userxattr") }

// cleanup takes removed snapshots off the disk.
func (b *backend) cleanup(ctx context.Context) error {
	if c, ok := b.disk.(snapshots.Cleaner); ok {
		// Where nothing was ever made there is nothing to be found.
		if err := c.Cleanup(ctx); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removed snapshots stay on the disk: %w", err)
		}
	}
	return nil
}

// leased returns the lease's resource that a snapshot is.
func (b *backend) leased(key string) leases.Resource {
	return leases.Resource{ID: key, Type: "snapshots/" + b.name}
}
