package contenthash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// sumSeen begins what is hashed of a path as a step sees it: its Entry's sum, and the
// extended attributes that this leaves out.
const sumSeen = "tenon seen 1\x00"

// machineXattrs begin the names of extended attributes that a machine gives to files, for
// itself or for one container.
var machineXattrs = []string{"security.selinux", "security.ima", "security.evm", "security.apparmor", "security.SMACK"}

// harmlessNotes are those of overlayfs that do not change what shows of a directory. Opaque
// is looked at where the directory is.
var harmlessNotes = []string{"opaque", "origin", "impure", "nlink", "upper", "uuid"}

// attributes are the extended attributes of a path that a step sees.
func (d *differences) attributes(path string) (map[string][]byte, error) {
	names, err := sysx.LListxattr(path)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var kept map[string][]byte
	for _, name := range names {
		if note, is := d.IsNote(name); is {
			if d.Whole || !slices.Contains(harmlessNotes, note) {
				return nil, errNoName
			}
			continue
		}
		if slices.ContainsFunc(machineXattrs, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		value, err := sysx.LGetxattr(path, name)
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		if kept == nil {
			kept = map[string][]byte{}
		}
		kept[name] = value
	}
	return kept, nil
}

// sum is that of a path as a step sees it, but for its name and what is in it.
func (d *differences) sum(ctx context.Context, path string, attrs map[string][]byte, st *unix.Stat_t) (sum Sum, err error) {
	e := entryOf(st)
	e.Xattrs = attrs
	if d.times && e.Kind != Dir {
		e.ModTime = time.Unix(st.Mtim.Unix())
	}
	switch e.Kind {
	case 0:
		return sum, errNoName
	case Symlink:
		if e.Target, err = os.Readlink(path); err != nil {
			return sum, err
		}
	case File:
		if err := e.sumFile(ctx, path); err != nil {
			return sum, err
		}
	}
	b := append(make([]byte, 0, 256), sumSeen...)
	known := e.Sum()
	b = append(b, known[:]...)
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if !KeepXattr(name) {
			b = appendString(appendString(b, name), string(attrs[name]))
		}
	}
	return sha256.Sum256(b), nil
}

// kinds are those of the types of files.
var kinds = map[uint32]Kind{
	unix.S_IFREG: File, unix.S_IFDIR: Dir, unix.S_IFLNK: Symlink, unix.S_IFIFO: Fifo,
	unix.S_IFCHR: Char, unix.S_IFBLK: Block, unix.S_IFSOCK: Socket,
}

// entryOf is what a file's status says of it.
func entryOf(st *unix.Stat_t) *Entry {
	e := &Entry{Kind: kinds[st.Mode&unix.S_IFMT], Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	switch e.Kind {
	case Char, Block:
		e.Major, e.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	case File:
		e.Size = st.Size
	}
	return e
}

// sameAs says whether a path of the base, which looks the same, is.
func (d *differences) sameAs(ctx context.Context, before, path string, attrs map[string][]byte, st *unix.Stat_t) (bool, error) {
	was, err := d.attributes(before)
	if err != nil || !maps.EqualFunc(was, attrs, bytes.Equal) {
		return false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		a, err := os.Readlink(before)
		if err != nil {
			return false, err
		}
		b, err := os.Readlink(path)
		return a == b, err
	case unix.S_IFREG:
		return sameBytes(ctx, before, path)
	}
	return true, nil
}

// sameBytes compares two files of one size.
func sameBytes(ctx context.Context, one, other string) (bool, error) {
	a, err := os.Open(one)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	bufA, bufB := buffers.Get().(*[]byte), buffers.Get().(*[]byte)
	defer buffers.Put(bufA)
	defer buffers.Put(bufB)
	for {
		n, errA := io.ReadFull(a, *bufA)
		m, errB := io.ReadFull(b, *bufB)
		if !bytes.Equal((*bufA)[:n], (*bufB)[:m]) {
			return false, nil
		}
		ended := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
		if ended(errA) && ended(errB) {
			return true, nil
		}
		if err := errors.Join(errA, errB, context.Cause(ctx)); err != nil {
			return false, err
		}
	}
}
