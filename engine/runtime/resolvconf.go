package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// resolvConfPath is this machine's, and each container's.
const resolvConfPath = "/etc/resolv.conf"

// resolvConfs are the files that containers have as their resolv.conf: one for each
// content. None is written to or replaced while it may be mounted: runc refuses a mount
// whose file was replaced between two of its looks, and BuildKit's executor, whose file
// this one stands in for, replaces its own.
type resolvConfs struct {
	dir string
	mu  sync.Mutex // held while a file is made
}

// mount has a container see a file of the content, in place of the one in its spec.
func (r *resolvConfs) mount(spec *specs.Spec, content []byte) error {
	path, err := r.file(content)
	if err != nil {
		return fmt.Errorf("the %s of a container: %w", resolvConfPath, err)
	}
	for i, m := range spec.Mounts {
		if m.Destination == resolvConfPath {
			spec.Mounts[i].Source = path
		}
	}
	return nil
}

// keep has a container keep the content that BuildKit's executor has given it.
func (r *resolvConfs) keep(spec *specs.Spec) error {
	for _, m := range spec.Mounts {
		if m.Destination == resolvConfPath {
			content, err := os.ReadFile(m.Source)
			if err != nil {
				return err
			}
			return r.mount(spec, content)
		}
	}
	return nil
}

// file makes the file of a content, unless it is there.
func (r *resolvConfs) file(content []byte) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := filepath.Join(r.dir, fmt.Sprintf("resolv-%x.conf", sha256.Sum256(content)))
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if err := os.WriteFile(path+".tmp", content, 0o644); err != nil {
		return "", err
	}
	return path, os.Rename(path+".tmp", path)
}

// keeping is a provider whose containers keep the resolv.conf that they began with.
type keeping struct {
	network.Provider
	files *resolvConfs
}

// New implements network.Provider.
func (k keeping) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	ns, err := k.Provider.New(ctx, hostname, opt)
	if err != nil {
		return nil, err
	}
	return keepingNamespace{ns, k.files}, nil
}

type keepingNamespace struct {
	network.Namespace
	files *resolvConfs
}

// Set implements network.Namespace.
func (k keepingNamespace) Set(spec *specs.Spec) error {
	return errors.Join(k.Namespace.Set(spec), k.files.keep(spec))
}
