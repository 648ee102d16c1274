package powercut

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// Keep decides what is left. Of something that has changed n times since it was last
// synced, it returns which state it is in: 0 is the one that was synced, n the newest. It
// is asked for each sector of a file, its size, and each change of a name in a folder.
// The name is the path of that file or folder below the root. A folder's ends with a slash.
type Keep func(name string, n int) int

// Nothing keeps what is synced, and nothing else.
func Nothing(string, int) int { return 0 }

// Names keeps what names lead to, and of the files themselves only what is synced: so a
// file may be under its name before its bytes are there.
func Names(name string, n int) int {
	if strings.HasSuffix(name, "/") {
		return n
	}
	return 0
}

// Everything keeps everything, as where only a process has died.
func Everything(_ string, n int) int { return n }

// Each decides on each change by itself.
func Each(rng *rand.Rand) Keep { return func(_ string, n int) int { return rng.IntN(n + 1) } }

// Some keeps some: nothing of some files, everything of others, and of the rest a part.
func Some(rng *rand.Rand) Keep {
	modes := map[string]int{}
	return func(name string, n int) int {
		mode, ok := modes[name]
		if !ok {
			mode = rng.IntN(3)
			modes[name] = mode
		}
		switch mode {
		case 0:
			return 0
		case 1:
			return n
		}
		return rng.IntN(n + 1)
	}
}

// Leave writes what is left after a power cut into a folder, which is empty.
func (d *Disk) Leave(dir string, keep Keep) error {
	return d.root.leave(dir, "", keep, map[*node]string{})
}

func (n *node) leave(path, name string, keep Keep, written map[*node]string) error {
	if first := written[n]; first != "" {
		return os.Link(first, path)
	}
	if !n.dir {
		written[n] = path
		return os.WriteFile(path, n.after(n.changes, keep, name), 0o600)
	}
	left := maps.Clone(n.stable)
	lost := map[string]bool{}
	for _, m := range n.moves {
		gone := keep(name+"/", 1) == 0
		for name := range m {
			gone = gone || lost[name]
		}
		if !gone {
			m.apply(left)
			continue
		}
		for name := range m {
			lost[name] = true
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, child := range slices.Sorted(maps.Keys(left)) {
		if err := left[child].leave(filepath.Join(path, child), filepath.Join(name, child), keep, written); err != nil {
			return err
		}
	}
	return nil
}

// after returns what is in a file of which some changes are kept.
func (n *node) after(changes []change, keep Keep, name string) []byte {
	if len(changes) == 0 {
		return n.bytes
	}
	sizes := []int64{int64(len(n.bytes))}
	touched := map[int64][]change{} // by sector
	for _, c := range changes {
		size := sizes[len(sizes)-1]
		from, to := c.at, c.at+int64(len(c.data))
		if c.truncate {
			to = size
		}
		for s := from / sector; s*sector < to; s++ {
			touched[s] = append(touched[s], c)
		}
		sizes = append(sizes, c.size(size))
	}
	all := make([]byte, (slices.Max(sizes)+sector-1)/sector*sector)
	copy(all, n.bytes)
	for _, s := range slices.SortedFunc(maps.Keys(touched), cmp.Compare) {
		at := s * sector
		for _, c := range touched[s][:keep(name, len(touched[s]))] {
			part := all[at : at+sector]
			switch {
			case c.truncate:
				clear(part[max(0, c.at-at):])
			case c.at < at:
				copy(part, c.data[at-c.at:])
			default:
				copy(part[c.at-at:], c.data)
			}
		}
	}
	return all[:sizes[keep(name, len(sizes)-1)]]
}
