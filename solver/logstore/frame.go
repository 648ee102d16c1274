package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

const (
	magic   = "Tenon cache keys"
	version = 2
	// headSize is the length of the beginning of a file.
	headSize = len(magic) + 8
	// boltMagic is in bytes 16 to 20 of a bolt file.
	boltMagic = 0xed0cdaed
	// frameHead is the length of the beginning of a frame.
	frameHead = keygraph.FrameHead
)

var (
	marker     = []byte{0xf5, 'K', 'e', 'y'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	little     = binary.LittleEndian
)

// head is the beginning of a file.
func head(version uint32) []byte {
	b := little.AppendUint32([]byte(magic), version)
	return little.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// seal fills in the head of a frame. Unsynced is how many frames before it may not be on
// the disk although it is.
func seal(frame []byte, sequence uint64, unsynced int) {
	copy(frame, marker)
	little.PutUint32(frame[4:], uint32(len(frame)-frameHead))
	little.PutUint64(frame[8:], sequence)
	little.PutUint32(frame[16:], uint32(unsynced))
	little.PutUint32(frame[20:], checksum(frame))
}

// checksum is that of everything in a frame but the marker and itself.
func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[4:20], castagnoli), castagnoli, frame[frameHead:])
}

// readHead says whether a file is one that this version can read.
func readHead(path string, f io.ReaderAt) error {
	b := make([]byte, headSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("logstore: %w", err)
	}
	b = b[:n]
	switch {
	case n < len(magic) && bytes.HasPrefix([]byte(magic), b):
		return &FileError{Path: path, Kind: ErrCorrupt, Detail: fmt.Sprintf("it has %d bytes", n), Hint: "move it away to start with an empty cache"}
	case n >= 20 && little.Uint32(b[16:]) == boltMagic:
		return &FileError{Path: path, Kind: ErrVersion, Detail: "it is a bolt file, as earlier versions wrote it", Hint: "move it away to start with an empty cache"}
	case !bytes.HasPrefix(b, []byte(magic)):
		return &FileError{Path: path, Kind: ErrForeign, Detail: "it does not begin as the keys of a cache", Hint: "use another path"}
	case n < headSize || little.Uint32(b[headSize-4:]) != crc32.Checksum(b[:headSize-4], castagnoli):
		return &FileError{Path: path, Kind: ErrCorrupt, Detail: "its beginning is damaged", Hint: "move it away to start with an empty cache"}
	}
	if got := little.Uint32(b[len(magic):]); got != version {
		return &FileError{
			Path: path, Kind: ErrVersion, Detail: fmt.Sprintf("it has format %d, this program knows format %d", got, version),
			Hint: "use the program that made it, or another path",
		}
	}
	return nil
}

// readSize is how much of a file is read at once.
const readSize = 1 << 20

// scanner reads the frames of a file. Where there is none it looks for the next.
type scanner struct {
	f    io.ReaderAt
	size int64
	// at is where the next frame should begin, end where the last good one ended.
	at, end int64
	// sequence is that of the last frame.
	sequence uint64
	// lost counts the bytes that were passed over.
	lost int64
	// effort bounds the search for frames: bytes that are checksummed in vain.
	effort int64

	buf  []byte // the file from base on
	base int64
}

func newScanner(f io.ReaderAt, size int64) *scanner {
	return &scanner{f: f, size: size, at: int64(headSize), end: int64(headSize), effort: 4*size + readSize}
}

// bytes returns n bytes from a place that the file has. They are valid until the next
// call.
func (s *scanner) bytes(at int64, n int) ([]byte, error) {
	if at < s.base || at+int64(n) > s.base+int64(len(s.buf)) {
		size := int(min(int64(max(n, readSize)), s.size-at))
		if cap(s.buf) < size {
			s.buf = make([]byte, size)
		}
		s.buf, s.base = s.buf[:size], at
		if _, err := io.ReadFull(io.NewSectionReader(s.f, at, int64(size)), s.buf); err != nil {
			s.buf = nil
			return nil, fmt.Errorf("reading %d bytes at %d: %w", size, at, err)
		}
	}
	return s.buf[at-s.base:][:n:n], nil
}

// next returns the records of the next frame, and nil at the end of the file.
func (s *scanner) next() (records []byte, err error) {
	for start := s.at; s.at < s.size; {
		frame, err := s.frame()
		if err != nil {
			return nil, err
		}
		if frame != nil {
			s.lost += s.at - start
			s.at += int64(len(frame))
			s.end = s.at
			s.sequence = little.Uint64(frame[8:])
			return frame[frameHead:], nil
		}
		if err := s.seek(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// frame returns the frame that begins at s.at; nil if there is none.
func (s *scanner) frame() ([]byte, error) {
	if s.size-s.at < frameHead {
		return nil, nil
	}
	h, err := s.bytes(s.at, frameHead)
	if err != nil {
		return nil, err
	}
	n := int64(little.Uint32(h[4:])) + frameHead
	if !bytes.HasPrefix(h, marker) || n > s.size-s.at || n > s.effort || little.Uint64(h[8:]) <= s.sequence {
		return nil, nil
	}
	frame, err := s.bytes(s.at, int(n))
	if err != nil {
		return nil, err
	}
	if little.Uint32(frame[20:]) != checksum(frame) {
		s.effort -= n
		return nil, nil
	}
	// What was written before is here, or was on the disk once.
	if little.Uint64(frame[8:]) != s.sequence+1 && little.Uint32(frame[16:]) != 0 {
		return nil, nil
	}
	return frame, nil
}

// seek goes to the next marker, or to the end.
func (s *scanner) seek() error {
	for s.at++; s.at < s.size; {
		n := int(min(readSize, s.size-s.at))
		b, err := s.bytes(s.at, n)
		if err != nil {
			return err
		}
		if i := bytes.Index(b, marker); i >= 0 {
			s.at += int64(i)
			return nil
		}
		s.at += int64(max(1, n-len(marker)+1))
	}
	s.at = s.size
	return nil
}

// load brings what a file holds into an empty graph. It returns how the file ends, and
// how many records named something that was not there.
func load(f io.ReaderAt, size int64, g *keygraph.Graph) (s *scanner, skipped int, err error) {
	s = newScanner(f, size)
	r := keygraph.NewReplay(g)
	defer r.End()
	for {
		records, err := s.next()
		if records == nil || err != nil {
			return s, r.Skipped, err
		}
		if r.Apply(records) != nil {
			r.Skipped++ // of sound frames only those that this package did not write
		}
	}
}
