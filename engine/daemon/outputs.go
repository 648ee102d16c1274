package daemon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	bksession "github.com/moby/buildkit/session"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/serve"
)

// outputs are what a daemon is asked to export, and where it writes that.
type outputs struct {
	entries []bkclient.ExportEntry
	places  map[int]serve.Output // by the number of the entry
	layout  string               // the directory of an OCI layout; "" for none
	umask   os.FileMode          // for what is made in it
	store   content.Store        // of the layout
}

// layoutStore is the protocol's name of the content store of an output that is a layout.
const layoutStore = "export"

func newOutputs(reqs []export.Request) (*outputs, error) {
	o := &outputs{places: map[int]serve.Output{}}
	for _, r := range reqs {
		if r.Remote != nil {
			return nil, fmt.Errorf("output type=%s: its place is at another caller", r.Type)
		}
		if r.Type == export.TypeCacheOnly {
			continue // what is built is in the daemon's cache
		}
		n := len(o.entries)
		o.entries = append(o.entries, bkclient.ExportEntry{Type: r.Type, Attrs: r.Attrs})
		switch {
		case r.Dir != "" && r.Type != export.TypeLocal:
			if err := o.toLayout(r); err != nil {
				return nil, err
			}
		case r.Dir != "":
			privileged, _ := strconv.ParseBool(r.Attrs["privileged-files"])
			o.places[n] = serve.Output{
				Dir: r.Dir, Umask: r.Umask, Privileged: privileged,
				Mirror: strings.EqualFold(strings.TrimSpace(r.Attrs["mode"]), "delete"),
			}
		case r.Open != nil:
			o.places[n] = serve.Output{Open: r.Open}
		}
	}
	return o, nil
}

// toLayout has the one output of a build that the protocol has a place for written as a
// layout.
func (o *outputs) toLayout(r export.Request) error {
	if o.layout != "" {
		return errors.New("a daemon writes one output as a directory of an OCI layout: make the other one an archive")
	}
	// The store has a mode of its own for what is not there.
	for _, dir := range []string{"blobs/sha256", "ingest"} {
		if err := os.MkdirAll(filepath.Join(r.Dir, dir), 0o777&^r.Umask); err != nil {
			return err
		}
	}
	store, err := contentlocal.NewStore(r.Dir)
	if err != nil {
		return fmt.Errorf("OCI layout %s: %w", r.Dir, err)
	}
	o.layout, o.umask, o.store = r.Dir, r.Umask, store
	return nil
}

// lend makes the session that the daemon asks.
func lend(ctx context.Context, s session.Session, o *outputs, req engine.Request) (*bksession.Session, error) {
	// It ends by Close: what a build that is cancelled has to clean up may still need it.
	served, err := bksession.NewSession(context.WithoutCancel(ctx), sharedKey(ctx, s))
	if err != nil {
		return nil, err
	}
	stores := map[string]content.Store{}
	if l, ok := s.(session.Lister); ok {
		for _, name := range l.Layouts() {
			store, err := s.Layout(ctx, name)
			if err != nil {
				return nil, err
			}
			stores[serve.Layout(name)] = store
		}
	}
	if err := cacheStores(ctx, s, req, stores); err != nil {
		return nil, err
	}
	if o.store != nil {
		stores[layoutStore] = o.store
	}
	serve.Attach(served, s, stores)
	serve.AttachOutputs(served, o.places)
	return served, nil
}

// finish writes what is the client's to write: the index of a layout.
func (o *outputs) finish(ctx context.Context, said map[string]string) error {
	if o.layout == "" {
		return nil
	}
	dt, err := base64.StdEncoding.DecodeString(said[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return fmt.Errorf("the daemon's descriptor of the image: %w", err)
	}
	var desc ocispec.Descriptor
	if err := json.Unmarshal(dt, &desc); err != nil {
		return fmt.Errorf("the daemon's descriptor of the image: %w", err)
	}
	var names []string
	if given := said[exptypes.ExporterImageNameKey]; given != "" {
		names = strings.Split(given, ",")
	}
	if err := export.NameInLayout(ctx, o.layout, o.umask, desc, names, "latest"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(o.layout, "ingest")); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}
