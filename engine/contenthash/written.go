package contenthash

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// written names a tree by the name of the one below and by what is different: the paths
// that are gone, and those that are there and were not, or not as they are. A file that was
// written again as it was is none of these, so that the name does not depend on how a tree
// came to be what it is. Where nothing is different that is a name, too, and not the one
// below: a tree takes the place of another of its name, and must have as many layers, or an
// image's history would tell of others than it has.
func written(ctx context.Context, ref *store.Ref, below digest.Digest) (name digest.Digest, err error) {
	err = ref.Written(ctx, func(w store.Written) error {
		d := &differences{Written: w, ctx: ctx, times: ref.TimesCount(), first: map[inode]string{}}
		if err := d.path(".", w.Base != "", false); err != nil {
			return err
		}
		if err := d.read(); err != nil {
			return err
		}
		name = d.name(below)
		return nil
	})
	return name, err
}

// differences are those of what was written to what was there.
type differences struct {
	store.Written
	ctx   context.Context
	times bool
	all   []difference
	// first has the first path of each file with several names.
	first map[inode]string
}

type inode struct{ dev, ino uint64 }

// difference is a path that is different, or may be.
type difference struct {
	path string
	gone bool
	// maybe says that what was there before looks the same, and has to be compared.
	maybe bool
	is    unix.Stat_t
	link  string // the first path of the same file, if that is another

	same bool
	sum  Sum
}

// path looks at a path that was written. Based says that the directory it is in is one in
// the base, too. Opaque says that nothing of the base shows in it.
func (d *differences) path(rel string, based, opaque bool) error {
	if err := context.Cause(d.ctx); err != nil {
		return err
	}
	var is, was unix.Stat_t
	if err := lstat(d.Dir, rel, &is); err != nil {
		return err
	}
	if based {
		err := lstat(d.Base, rel, &was)
		if based = err == nil; err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if is.Mode&unix.S_IFMT == unix.S_IFCHR && is.Rdev == 0 {
		if d.Whole {
			return errNoName // what it stands for is not for us to say
		}
		if based {
			d.all = append(d.all, difference{path: rel, gone: true})
		}
		return nil
	}
	d.all = append(d.all, difference{path: rel, is: is, maybe: based && d.looksSame(&is, &was), link: d.link(rel, &is)})
	if is.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	based = based && was.Mode&unix.S_IFMT == unix.S_IFDIR
	opaque, err := d.opaque(rel, opaque)
	if err != nil {
		return err
	}
	return d.in(rel, based, opaque)
}

// in looks at what is in a directory, and what is gone from it.
func (d *differences) in(rel string, based, opaque bool) error {
	names, err := namesIn(filepath.Join(d.Dir, rel))
	if err != nil {
		return err
	}
	var before []string
	if based && (opaque || d.Whole) {
		if before, err = namesIn(filepath.Join(d.Base, rel)); err != nil {
			return err
		}
	}
	for len(names) > 0 || len(before) > 0 {
		if len(names) == 0 || len(before) > 0 && before[0] < names[0] {
			d.all = append(d.all, difference{path: filepath.Join(rel, before[0]), gone: true})
			before = before[1:]
			continue
		}
		if len(before) > 0 && before[0] == names[0] {
			before = before[1:]
		}
		if err := d.path(filepath.Join(rel, names[0]), based, opaque); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}

// looksSame compares what can be compared without reading. Of a file with several names it
// would have to be known that it had the same ones.
func (d *differences) looksSame(is, was *unix.Stat_t) bool {
	kind := is.Mode & unix.S_IFMT
	if kind != was.Mode&unix.S_IFMT || is.Uid != was.Uid || is.Gid != was.Gid {
		return false
	}
	if kind != unix.S_IFLNK && is.Mode != was.Mode {
		return false
	}
	if kind == unix.S_IFDIR {
		return true
	}
	return is.Nlink == 1 && was.Nlink == 1 && is.Size == was.Size && is.Rdev == was.Rdev && (!d.times || is.Mtim == was.Mtim)
}

// link is the first path of a file; "" if that is this one.
func (d *differences) link(rel string, is *unix.Stat_t) string {
	if is.Nlink < 2 || is.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ""
	}
	id := inode{uint64(is.Dev), is.Ino}
	first, known := d.first[id]
	if !known {
		d.first[id] = rel
	}
	return first
}

// opaque says whether nothing of the base shows in a directory that was written: what is
// made in the place of another that was removed.
func (d *differences) opaque(rel string, outer bool) (bool, error) {
	if d.Whole || outer {
		return outer, nil
	}
	note := "trusted.overlay.opaque"
	if d.UserNotes {
		note = "user.overlay.opaque"
	}
	value := make([]byte, 16)
	n, err := unix.Lgetxattr(filepath.Join(d.Dir, rel), note, value)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return false, nil
	case err != nil:
		return false, err
	case string(value[:n]) != "y":
		return false, errNoName
	}
	return true, nil
}

// read finds out what the paths are, several at a time.
func (d *differences) read() error {
	eg, ctx := errgroup.WithContext(d.ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i := range d.all {
		if d.all[i].gone {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		eg.Go(func() error { return d.readOne(ctx, &d.all[i]) })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	return context.Cause(d.ctx)
}

func (d *differences) readOne(ctx context.Context, c *difference) error {
	path := filepath.Join(d.Dir, c.path)
	attrs, err := d.attributes(path)
	if err != nil {
		return err
	}
	if c.maybe {
		if c.same, err = d.sameAs(ctx, filepath.Join(d.Base, c.path), path, attrs, &c.is); err != nil || c.same {
			return err
		}
	}
	c.sum, err = d.sum(ctx, path, attrs, &c.is)
	return err
}

// The sorts of differences.
const (
	isGone  = 'd'
	isThere = 'e'
)

// name is the digest of the differences, upon the name of the tree below.
func (d *differences) name(below digest.Digest) digest.Digest {
	d.all = slices.DeleteFunc(d.all, func(c difference) bool { return c.same })
	h := sha256.New()
	b := append(make([]byte, 0, 512), nameWritten...)
	h.Write(appendString(b, below.String()))
	b = b[:0]
	for i := range d.all {
		c := &d.all[i]
		b = appendString(b, c.path)
		if c.gone {
			b = append(b, isGone)
		} else {
			b = append(append(b, isThere), c.sum[:]...)
			b = appendString(b, c.link)
		}
		h.Write(b)
		b = b[:0]
	}
	var sum Sum
	h.Sum(sum[:0])
	return sum.Digest()
}

func lstat(dir, rel string, st *unix.Stat_t) error {
	path := filepath.Join(dir, rel)
	if err := unix.Lstat(path, st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return nil
}

// namesIn are the names in a directory, in the order of their bytes.
func namesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
