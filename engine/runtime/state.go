package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// state is where an executor keeps what it knows of containers. What describes one has
// the environment of its process, and so secrets: it is in memory only. On the disk
// there are the containers' names, by which whoever starts after a process that was
// killed finds what is left of them.
type state struct {
	memory string // BuildKit's executor's
	names  string
}

// openState makes the state in root. What a killed process left in memory is gone then:
// its containers are removed afterwards, by their names.
func openState(root string) (*state, error) {
	s := &state{memory: filepath.Join(root, "run"), names: filepath.Join(root, "names")}
	for _, dir := range []string{s.memory, s.names} {
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() { // which knows of no container
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := s.close(); err != nil {
		return nil, err
	}
	memory := mount.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=0700", "nosuid", "nodev", "noexec", "size=256m"}}
	// Who may not mount cannot run containers, either: that is said by the trial of one.
	if err := memory.Mount(s.memory); err != nil && !errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("a file system in memory for the state of containers: %w", err)
	}
	return s, nil
}

// close takes the memory away, with what is mounted there.
func (s *state) close() error {
	if err := mount.UnmountAll(s.memory, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("the file system in memory for the state of containers: %w", err)
	}
	return nil
}

// begin notes a container, before there is anything of it. The name is forgotten when
// nothing is left of it.
func (s *state) begin(id string) (forget func() error, err error) {
	name := filepath.Join(s.names, id)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return nil, err
	}
	return func() error { return s.forget(id) }, nil
}

func (s *state) forget(id string) error {
	return os.RemoveAll(filepath.Join(s.names, id))
}
