// Package confine compares what a step may do and see under Tenon with what it may
// under BuildKit's daemon.
package confine

import (
	"bufio"
	_ "embed" // the probe
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Probe is a shell script, for busybox's shell, that prints facts of where it runs.
//
//go:embed probe.sh
var Probe string

// Dockerfile runs the probe, /probe.sh in the context, as users would run something,
// and leaves what it prints in /facts. "busybox" is a context with that program.
const Dockerfile = `FROM scratch AS probe
COPY --from=busybox / /bin/
COPY probe.sh /
RUN ["/bin/busybox", "mkdir", "-p", "/mnt", "/tmp", "/out"]
SHELL ["/bin/busybox", "sh", "-c"]
RUN . /probe.sh > /out/facts
FROM scratch
COPY --from=probe /out /
`

// Facts are what the probe says, by name, without what differs from run to run.
type Facts map[string]string

// Parse reads what the probe said on this machine.
func Parse(r io.Reader) (Facts, error) {
	f := Facts{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), "\t")
		if !ok {
			return nil, fmt.Errorf("the probe says %q, which is no fact", lines.Text())
		}
		value = normal(name, value)
		if before, twice := f[name]; twice {
			value = before + " and " + value
		}
		f[name] = value
	}
	if len(f) < 50 {
		return nil, fmt.Errorf("the probe has found only %d facts", len(f))
	}
	return f, nil
}

// Lines are the facts, sorted, each "name: value".
func (f Facts) Lines() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		out = append(out, name+": "+f[name])
	}
	return out
}

var (
	overlayDirs = regexp.MustCompile(`(lowerdir|upperdir|workdir|lowerdir\+|datadir\+)=[^ ,]*,?`)
	mountIDs    = regexp.MustCompile(`(master|shared|propagate_from):\d+`)
	fileRoot    = regexp.MustCompile(`root=\S*/(hosts|resolv)\S*`)
	groups      = regexp.MustCompile(`/(tenon|buildkit)/[a-z0-9]{24,64}\b`)
	longID      = regexp.MustCompile(`\b[a-z0-9]{24,64}\b`)
)

// normal is a value without the names of containers, of their files and cgroups,
// which differ from run to run and by builder.
func normal(name, value string) string {
	kind, what, _ := strings.Cut(name, " ")
	switch kind {
	case "namespace":
		if host, err := os.Readlink(filepath.Join("/proc/thread-self/ns", what)); err == nil && host == value {
			return "this machine's"
		}
		return "its own"
	case "mount":
		value = mountIDs.ReplaceAllString(overlayDirs.ReplaceAllString(value, ""), "$1")
		value = fileRoot.ReplaceAllString(value, "root=$1")
	}
	value = groups.ReplaceAllString(value, "/BUILDER/ID")
	return strings.TrimSpace(longID.ReplaceAllString(value, "ID"))
}

// Difference is a fact that is not the same. Why is "" if nobody has explained it.
type Difference struct{ Fact, Ours, Peer, Why string }

// Compare lists what differs, by name.
func Compare(ours, peer Facts) []Difference {
	names := maps.Clone(ours)
	maps.Copy(names, peer)
	var all []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if ours[name] == peer[name] {
			continue
		}
		d := Difference{Fact: name, Ours: said(ours, name), Peer: said(peer, name)}
		for _, k := range known {
			if k.fact.MatchString(name) && k.ours.MatchString(d.Ours) {
				d.Why = k.why
				break
			}
		}
		all = append(all, d)
	}
	return all
}

func said(f Facts, name string) string {
	if v, ok := f[name]; ok {
		return v
	}
	return "(nothing)"
}
