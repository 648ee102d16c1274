package runtime

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/sys/user"
)

// initPath is where the init is in a container: in /dev, which is a file system in
// memory, so that no mount point stays in the tree.
const initPath = "/dev/.init"

// hostFile is one file of this machine's, for a container to read.
type hostFile string

// Mount implements executor.Mountable.
func (f hostFile) Mount(context.Context, bool) (executor.MountableRef, error) {
	return hostFileMount(f), nil
}

type hostFileMount string

// Mount implements executor.MountableRef.
func (f hostFileMount) Mount() ([]mount.Mount, func() error, error) {
	m := mount.Mount{Type: "bind", Source: string(f), Options: []string{"bind", "ro", "nosuid", "nodev"}}
	return []mount.Mount{m}, func() error { return nil }, nil
}

// IdentityMapping implements executor.MountableRef.
func (f hostFileMount) IdentityMapping() *user.IdentityMapping { return nil }

// withInit has a process be started by the init.
func withInit(path string, mounts []executor.Mount, meta executor.Meta) ([]executor.Mount, executor.Meta) {
	out := append(make([]executor.Mount, 0, len(mounts)+1), mounts...)
	out = append(out, executor.Mount{Src: hostFile(path), Dest: initPath, Readonly: true})
	meta.Args = append([]string{initPath, "--"}, meta.Args...)
	return out, meta
}

func checkInit(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("the init for containers: %w", err)
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return fmt.Errorf("the init for containers: %s is no program", path)
	}
	return nil
}
