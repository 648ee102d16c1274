package history

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/regular"
	"github.com/tenonbuild/tenon/solver/client"
)

// Head is what is known of a build without reading what each of its steps did.
type Head struct {
	Version int                    `json:"version"`
	Ref     string                 `json:"ref"`
	Project string                 `json:"project"`
	Ended   time.Time              `json:"ended"`
	Counts  map[client.Outcome]int `json:"counts"` // see why.Counts
}

// A head is a skippable frame of zstd's: its magic, the length, and JSON. So what reads an
// account as one file of zstd's reads all but the head.
const (
	headMagic = 0x184D2A5E
	maxHead   = 64 << 10
)

// packHead is the head of an account; nil if it would be too large.
func packHead(b *why.Build) []byte {
	dt, err := json.Marshal(headOf(b))
	if err != nil || len(dt) > maxHead {
		return nil
	}
	out := binary.LittleEndian.AppendUint32(nil, headMagic)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(dt))), dt...)
}

func headOf(b *why.Build) *Head {
	return &Head{Version: b.Version, Ref: b.Ref, Project: b.Project, Ended: b.Ended, Counts: why.Counts(b)}
}

// readHead reads the head of an account; if it has none, it makes one of all of it.
func readHead(path string) (*Head, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var begin [8]byte
	if _, err := io.ReadFull(f, begin[:]); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(begin[4:])
	if binary.LittleEndian.Uint32(begin[:]) == headMagic && size <= maxHead {
		dt := make([]byte, size)
		h := &Head{}
		if _, err := io.ReadFull(f, dt); err == nil && json.Unmarshal(dt, h) == nil && h.Version == why.Version {
			return h, nil
		}
	}
	b, err := readAccount(path)
	if err != nil {
		return nil, err
	}
	return headOf(b), nil
}

// Head returns the head of what a build has done.
func (r Reader) Head(ref string) (*Head, error) { return readHead(account(r.dir, ref)) }
