package llb

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// hasOutput says whether a mount gives a result. Clients leave the field 0 for
// secrets and agents, which never do.
func hasOutput(m *pb.Mount) bool {
	switch m.MountType {
	case pb.MountType_SECRET, pb.MountType_SSH, pb.MountType_TMPFS:
		return false
	}
	return m.Output != int64(pb.SkipOutput)
}

func checkExec(e *pb.ExecOp, inputs int) error {
	if e.Meta == nil {
		return errors.New("it does not say what to run (no meta)")
	}
	if err := checkMeta(e.Meta); err != nil {
		return err
	}
	if _, ok := pb.NetMode_name[int32(e.Network)]; !ok {
		return fmt.Errorf("network mode %d is not known", e.Network)
	}
	if err := pb.ValidateSecurityMode(e.Security); err != nil {
		return err
	}
	for i, s := range e.Secretenv {
		if s.GetName() == "" || strings.ContainsAny(s.Name, "=\x00") {
			return fmt.Errorf("secret %d: %q cannot be the name of an environment variable", i, s.GetName())
		}
	}
	return checkMounts(e.Mounts, inputs)
}

func checkMeta(m *pb.Meta) error {
	if len(m.Args) == 0 || m.Args[0] == "" {
		return errors.New("it does not say what to run (no args)")
	}
	for _, a := range m.Args {
		if err := checkPath("argument", a); err != nil {
			return err
		}
	}
	for _, e := range m.Env {
		if i := strings.IndexByte(e, '='); i == 0 || strings.ContainsRune(e, 0) {
			return fmt.Errorf("%q cannot be an environment variable", e)
		}
	}
	for _, h := range m.ExtraHosts {
		if h.GetHost() == "" || net.ParseIP(h.IP) == nil {
			return fmt.Errorf("extra host %q: %q is not an IP address", h.GetHost(), h.GetIP())
		}
	}
	for i, u := range m.Ulimit {
		if u.GetName() == "" {
			return fmt.Errorf("ulimit %d has no name", i)
		}
	}
	return checkPath("working directory", m.Cwd)
}

func checkMounts(mounts []*pb.Mount, inputs int) error {
	outs := outputSet{}
	root := false
	for i, m := range mounts {
		if m == nil {
			return fmt.Errorf("mount %d is missing", i)
		}
		fail := func(err error) error { return fmt.Errorf("mount %d (%q): %w", i, m.Dest, err) }
		if err := checkMount(m, inputs); err != nil {
			return fail(err)
		}
		if hasOutput(m) {
			if err := outs.add(m.Output); err != nil {
				return fail(err)
			}
		}
		if m.Dest != pb.RootMount {
			continue
		}
		if root {
			return fail(errors.New("there is another mount for the root"))
		}
		root = true
	}
	if !root {
		return errors.New("no mount gives it a root (/)")
	}
	return outs.complete()
}

func checkMount(m *pb.Mount, inputs int) error {
	if m.Dest == "" {
		return errors.New("it has no destination")
	}
	if m.Dest != pb.RootMount && path.Clean(m.Dest) == "/" {
		return errors.New("the root's mount is written /")
	}
	if err := checkPath("destination", m.Dest); err != nil {
		return err
	}
	if err := checkPath("selector", m.Selector); err != nil {
		return err
	}
	if err := checkInput(m.Input, inputs); err != nil {
		return err
	}
	if m.Dest == pb.RootMount && m.MountType != pb.MountType_BIND {
		return fmt.Errorf("a mount of type %s cannot be the root", m.MountType)
	}
	if _, ok := pb.MountContentCache_name[int32(m.ContentCache)]; !ok {
		return fmt.Errorf("content cache mode %d is not known", m.ContentCache)
	}
	return checkMountType(m)
}

func checkMountType(m *pb.Mount) error {
	switch m.MountType {
	case pb.MountType_BIND:
		return nil
	case pb.MountType_CACHE:
		if m.CacheOpt == nil {
			return errors.New("a cache mount needs options")
		}
		if _, ok := pb.CacheSharingOpt_name[int32(m.CacheOpt.Sharing)]; !ok {
			return fmt.Errorf("sharing mode %d is not known", m.CacheOpt.Sharing)
		}
		return nil
	case pb.MountType_TMPFS:
		if m.GetTmpfsOpt().GetSize() < 0 {
			return fmt.Errorf("tmpfs size %d is negative", m.TmpfsOpt.Size)
		}
	case pb.MountType_SECRET:
		if m.SecretOpt == nil {
			return errors.New("a secret mount needs options: which secret?")
		}
	case pb.MountType_SSH:
		if m.SSHOpt == nil {
			return errors.New("an SSH mount needs options: which agent?")
		}
	default:
		return fmt.Errorf("mount type %d is not known", m.MountType)
	}
	if m.Input != int64(pb.Empty) {
		return fmt.Errorf("a mount of type %s has no input, this one has %d", m.MountType, m.Input)
	}
	return nil
}
