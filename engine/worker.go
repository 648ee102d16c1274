package engine

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/archutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/devices"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Worker is where steps run, as clients see it.
type Worker struct {
	// ID stays the same as long as there is the root.
	ID     string
	Labels map[string]string
	// Platforms are those whose programs it runs, its own first.
	Platforms []ocispec.Platform
	// GC is what is removed of its root by itself.
	GC store.Collecting
	// Devices are what steps can be given.
	Devices []devices.Device
}

// Workers lists the workers: this process is the only one.
func (e *Engine) Workers() []Worker {
	w := e.worker
	w.Labels = maps.Clone(w.Labels)
	w.Platforms = slices.Clone(archutil.SupportedPlatforms(true))
	w.Devices = e.devices.List()
	return []Worker{w}
}

// info is the worker as frontends see it, with its own platform.
func (w Worker) info() gwclient.WorkerInfo {
	return gwclient.WorkerInfo{ID: w.ID, Labels: maps.Clone(w.Labels), Platforms: []ocispec.Platform{nativePlatform()}}
}

func nativePlatform() ocispec.Platform { return platforms.Normalize(platforms.DefaultSpec()) }

// labelPrefix begins the names of the labels that BuildKit's clients know.
const labelPrefix = "org.mobyproject.buildkit.worker."

// newWorker is this process on a root. Labels that are asked for go before those that it has by
// itself.
func newWorker(st *store.Store, gc store.Collecting, opt Options) (Worker, error) {
	id, err := workerID(st)
	if err != nil {
		return Worker{}, fmt.Errorf("the worker's ID: %w", err)
	}
	w := Worker{ID: id, GC: gc, Labels: map[string]string{
		labelPrefix + "executor": "oci", labelPrefix + "snapshotter": st.Snapshotter(),
		labelPrefix + "network":          opt.Runtime.Network.Settled(),
		labelPrefix + "oci.process-mode": "sandbox",
		labelPrefix + "selinux.enabled":  strconv.FormatBool(opt.Runtime.SELinux),
	}}
	if profile := opt.Runtime.ApparmorProfile; profile != "" {
		w.Labels[labelPrefix+"apparmor.profile"] = profile
	}
	if host, err := os.Hostname(); err == nil {
		w.Labels[labelPrefix+"hostname"] = host
	}
	maps.Copy(w.Labels, opt.Labels)
	return w, nil
}

// workerID reads the ID that a root has, or gives it one.
func workerID(st *store.Store) (string, error) {
	file := st.Path("worker", "id")
	if dt, err := regular.Read(file, 100); err == nil {
		if id := strings.TrimSpace(string(dt)); id != "" {
			return id, nil
		}
	}
	id := identity.NewID()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	if err := regular.Sweep(filepath.Dir(file)); err != nil {
		return "", err
	}
	return id, regular.Replace(file, []byte(id+"\n"))
}
