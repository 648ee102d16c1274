package local

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"

	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/protobuf/proto"
)

// metadataFile is where what is known of the files goes, as in package fsutil: for
// each path four bytes, little endian, and as many of a types.Stat in protobuf.
const metadataFile = ".fsutil-metadata"

// metadata collects the Stats of what is found.
type metadata struct {
	data []byte
}

type visitFunc func(path string, st *types.Stat) error

// collect returns what visits the paths of a walk: it keeps the Stat of each, and
// passes to add those that match full, with the directories they are in.
func (m *metadata) collect(full []string, add visitFunc) (visitFunc, error) {
	matcher, err := patternmatcher.New(full)
	if err != nil {
		return nil, fmt.Errorf("patterns %q: %w", full, err)
	}
	type dir struct {
		path string
		st   *types.Stat
	}
	var above []dir // directories that the path is in and that were not added
	return func(p string, st *types.Stat) error {
		if p == metadataFile {
			return nil
		}
		plain := st.Clone()
		plain.Uid, plain.Gid = 0, 0
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(plain)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		m.data = binary.LittleEndian.AppendUint32(m.data, uint32(len(b)))
		m.data = append(m.data, b...)

		for len(above) > 0 && above[len(above)-1].path != path.Dir(p) {
			above = above[:len(above)-1]
		}
		matched, err := matcher.MatchesOrParentMatches(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if !matched {
			if fs.FileMode(st.Mode).IsDir() {
				above = append(above, dir{p, st})
			}
			return nil
		}
		for _, d := range above {
			if err := add(d.path, d.st); err != nil {
				return err
			}
		}
		above = above[:0]
		return add(p, st)
	}, nil
}
