package why

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// exec tells what a process is told. What does not count for caches is left out: proxies, and
// the addresses of extra hosts.
func (f *facts) exec(e *pb.ExecOp) {
	m := e.GetMeta()
	f.add(FactCommand, "", command(m.GetArgs()))
	for _, kv := range m.GetEnv() {
		k, v, _ := strings.Cut(kv, "=")
		f.add(FactEnv, k, v)
	}
	f.addSome(FactUser, "", m.GetUser())
	f.addSome(FactDir, "", m.GetCwd())
	f.addSome(FactHost, "name", m.GetHostname())
	for _, h := range m.GetExtraHosts() {
		f.add(FactHost, h.GetHost(), "added")
	}
	for _, u := range m.GetUlimit() {
		f.add(FactLimit, u.GetName(), fmt.Sprintf("%d:%d", u.GetSoft(), u.GetHard()))
	}
	f.addSome(FactLimit, "cgroup parent", m.GetCgroupParent())
	if codes := m.GetValidExitCodes(); len(codes) > 0 {
		f.add(FactLimit, "exit codes", fmt.Sprint(codes))
	}
	if m.GetRemoveMountStubsRecursive() {
		f.add(FactLimit, "mount points", "removed")
	}
	if e.GetNetwork() != pb.NetMode_UNSET {
		f.add(FactNetwork, "", strings.ToLower(e.GetNetwork().String()))
	}
	if e.GetSecurity() != pb.SecurityMode_SANDBOX {
		f.add(FactSecurity, "", strings.ToLower(e.GetSecurity().String()))
	}
	for _, s := range e.GetSecretenv() {
		f.add(FactMount, "$"+s.GetName(), "secret "+s.GetID()+optional(s.GetOptional()))
	}
	for _, d := range e.GetCdiDevices() {
		f.add(FactDevice, d.GetName(), "asked for"+optional(d.GetOptional()))
	}
	for _, m := range e.GetMounts() {
		if m.GetDest() != pb.RootMount || m.GetReadonly() {
			f.add(FactMount, m.GetDest(), mount(m))
		}
	}
}

// command is a command line as people write it: a shell's without the shell.
func command(args []string) string {
	if len(args) == 3 && args[1] == "-c" && path.Base(args[0]) == "sh" {
		return args[2]
	}
	return strings.Join(args, " ")
}

func optional(yes bool) string {
	if yes {
		return ", optional"
	}
	return ""
}

// mount says what a mount is, as --mount does.
func mount(m *pb.Mount) string {
	words := []string{"type=" + strings.ToLower(m.GetMountType().String())}
	add := func(name string, value any) { words = append(words, fmt.Sprintf("%s=%v", name, value)) }
	if m.GetInput() >= 0 && m.GetMountType() == pb.MountType_BIND {
		add("input", m.GetInput()+1)
	}
	if s := m.GetSelector(); s != "" && s != "/" {
		add("source", path.Join("/", s))
	}
	if c := m.GetCacheOpt(); c != nil && c.GetSharing() == pb.CacheSharingOpt_SHARED && path.Base(c.GetID()) == path.Base(m.GetDest()) && strings.HasSuffix(c.GetID(), m.GetDest()) {
		add("id", m.GetDest()) // others are all the same to caches
	}
	if s := m.GetSecretOpt(); s != nil {
		words = append(words, fmt.Sprintf("id=%s,uid=%d,gid=%d,mode=%04o%s", s.GetID(), s.GetUid(), s.GetGid(), s.GetMode(), optional(s.GetOptional())))
	}
	if s := m.GetSSHOpt(); s != nil {
		words = append(words, fmt.Sprintf("id=%s,uid=%d,gid=%d,mode=%04o%s", s.GetID(), s.GetUid(), s.GetGid(), s.GetMode(), optional(s.GetOptional())))
	}
	if t := m.GetTmpfsOpt(); t != nil && t.GetSize() != 0 {
		add("size", t.GetSize())
	}
	if m.GetReadonly() {
		words = append(words, "readonly")
	}
	if m.GetContentCache() != pb.MountContentCache_DEFAULT {
		add("content", strings.ToLower(m.GetContentCache().String()))
	}
	return strings.Join(words, ",")
}
