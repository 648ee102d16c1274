package execop

import (
	"errors"
	"fmt"
	"path"

	"github.com/moby/buildkit/solver/pb"
)

// role says what a mount is made of.
type role int

const (
	roleInput  role = iota // the input as it is, read-only
	roleTree               // a new tree on top of the input
	roleCache              // a cache mount that begins as the input
	roleTmpfs              // a file system in memory
	roleSecret             // the value of a secret
	roleSSH                // the socket of an SSH agent
)

const none = -1

// slot is one mount, decided on.
type slot struct {
	mount *pb.Mount
	role  role
	dest  string // absolute; "/" is the root file system
	input int    // index of the input, or none
	// output is the index of the output, or none. It is what was written (roleTree),
	// or the input itself.
	output int
}

func (s slot) isRoot() bool { return s.dest == pb.RootMount }

// layout decides what each mount of an op is made of and results in.
func layout(exec *pb.ExecOp, inputs int) (slots []slot, outputs int, err error) {
	cwd := cwdOf(exec.Meta)
	roots := 0
	for i, m := range exec.Mounts {
		if m == nil {
			return nil, 0, fmt.Errorf("mount %d is empty", i)
		}
		s, err := slotOf(m, cwd, inputs)
		if err != nil {
			return nil, 0, fmt.Errorf("mount %q: %w", m.Dest, err)
		}
		if s.isRoot() {
			roots++
		}
		slots = append(slots, s)
	}
	if roots != 1 {
		return nil, 0, fmt.Errorf("it has %d root file systems (mounts at /) where one is needed", roots)
	}
	outputs, err = countOutputs(slots)
	return slots, outputs, err
}

func slotOf(m *pb.Mount, cwd string, inputs int) (slot, error) {
	s := slot{mount: m, dest: path.Join("/", m.Dest), input: none, output: none}
	if !path.IsAbs(m.Dest) {
		s.dest = path.Join(cwd, m.Dest)
	}
	if s.isRoot() && m.Dest != pb.RootMount {
		return s, errors.New("it would hide the root file system")
	}
	if s.isRoot() && m.MountType != pb.MountType_BIND {
		return s, fmt.Errorf("the root file system cannot be a %s mount", m.MountType)
	}
	if s.isRoot() && path.Join("/", m.Selector) != "/" {
		return s, fmt.Errorf("the root file system cannot be a part of an input (%s)", m.Selector)
	}
	switch m.MountType {
	case pb.MountType_BIND, pb.MountType_CACHE:
		if m.Input != int64(pb.Empty) {
			if m.Input < 0 || m.Input >= int64(inputs) {
				return s, fmt.Errorf("it is of input %d, and the op has %d", m.Input, inputs)
			}
			s.input = int(m.Input)
		}
		if m.Output != int64(pb.SkipOutput) {
			if m.Output < 0 {
				return s, fmt.Errorf("output %d is not an index", m.Output)
			}
			s.output = int(m.Output)
		}
	}
	return s, s.setRole()
}

func (s *slot) setRole() error {
	m := s.mount
	switch m.MountType {
	case pb.MountType_BIND:
		s.role = roleTree
		if m.Readonly && s.input != none && !s.isRoot() {
			s.role = roleInput
		}
	case pb.MountType_CACHE:
		s.role = roleCache
		if m.CacheOpt == nil || m.CacheOpt.ID == "" {
			return errors.New("a cache mount needs an ID")
		}
		if _, ok := sharing[m.CacheOpt.Sharing]; !ok {
			return fmt.Errorf("sharing mode %d of cache mounts is not known", m.CacheOpt.Sharing)
		}
	case pb.MountType_TMPFS:
		s.role = roleTmpfs
		if m.TmpfsOpt.GetSize() < 0 {
			return fmt.Errorf("a size of %d bytes", m.TmpfsOpt.GetSize())
		}
	case pb.MountType_SECRET:
		s.role = roleSecret
		if m.SecretOpt.GetID() == "" {
			return errors.New("a secret mount needs the ID of a secret")
		}
	case pb.MountType_SSH:
		s.role = roleSSH
		if m.SSHOpt == nil {
			return errors.New("an SSH mount needs its options")
		}
	default:
		return fmt.Errorf("mount type %d is not known", m.MountType)
	}
	return nil
}

// countOutputs makes sure that outputs are numbered from 0 without gaps.
func countOutputs(slots []slot) (int, error) {
	seen := map[int]string{}
	for _, s := range slots {
		if s.output == none {
			continue
		}
		if other, ok := seen[s.output]; ok {
			return 0, fmt.Errorf("mounts %q and %q are both output %d", other, s.dest, s.output)
		}
		seen[s.output] = s.dest
	}
	for i := range len(seen) {
		if _, ok := seen[i]; !ok {
			return 0, fmt.Errorf("it has %d outputs, and none of them is output %d", len(seen), i)
		}
	}
	return len(seen), nil
}

// cwdOf is the working directory, absolute.
func cwdOf(meta *pb.Meta) string { return path.Join("/", meta.GetCwd()) }
