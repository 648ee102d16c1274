package filediff

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

func (c *comparison) zip(path []string, a, b blob) (found bool, err error) {
	x, err := c.openZip(a)
	if err != nil {
		return false, c.unreadable(err)
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	y, err := c.openZip(b)
	if err != nil {
		return false, c.unreadable(err)
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	before, err := c.listZip(x.Reader)
	if err != nil {
		return false, c.unreadable(err)
	}
	after, err := c.listZip(y.Reader)
	if err != nil {
		return false, c.unreadable(err)
	}
	had := c.total()
	if x.Comment != y.Comment {
		c.add(path, Finding{Kind: Header, Field: "comment", Old: x.Comment, New: y.Comment})
	}
	_, err = c.members(path, before, after)
	return c.total() > had, err
}

// zipped is an archive that is open.
type zipped struct {
	*zip.Reader
	io.Closer
}

// errLargeZip says that maxInMemory was reached.
var errLargeZip = fmt.Errorf("a zip archive in an archive has more than %d bytes", maxInMemory)

// openZip opens an archive where it is, or reads it into memory if it is a part of another.
func (c *comparison) openZip(b blob) (*zipped, error) {
	r, err := c.reader(b)
	if err != nil {
		return nil, err
	}
	opening := &capped{ReaderAt: r, left: maxHeaders}
	var at io.ReaderAt = opening
	size, onDisk := r.size()
	if !onDisk {
		var dt []byte
		dt, err = io.ReadAll(io.LimitReader(r, maxInMemory+1))
		if err == nil && len(dt) > maxInMemory {
			err = errLargeZip
		}
		at, size = bytes.NewReader(dt), int64(len(dt))
	}
	var z *zip.Reader
	if err == nil {
		z, err = zip.NewReader(at, size)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	opening.open = true
	return &zipped{z, r}, nil
}

// capped bounds what is read while an archive is opened: its directory, which is kept.
type capped struct {
	io.ReaderAt
	left int
	open bool
}

// ReadAt implements io.ReaderAt.
func (r *capped) ReadAt(p []byte, off int64) (int, error) {
	if r.left -= len(p); r.left < 0 && !r.open {
		return 0, errMembers
	}
	return r.ReaderAt.ReadAt(p, off)
}

func (c *comparison) listZip(z *zip.Reader) (all []member, err error) {
	if len(z.File) > maxMembers {
		return nil, errMembers
	}
	for _, f := range z.File {
		m := member{name: f.Name, fields: zipFields(f), blob: blob{member: true, open: f.Open}}
		m.sum, err = c.sumOfZipped(f, m.blob)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// sumOfZipped reads a member. Of one that cannot be read, such as one with a password, what
// the archive says is taken for it.
func (c *comparison) sumOfZipped(f *zip.File, b blob) (sum [sha256.Size]byte, err error) {
	r, err := c.reader(b)
	if err == nil {
		sum, err = sumOf(r)
		err = errors.Join(err, r.Close())
	}
	if err == nil {
		return sum, nil
	}
	return sha256.Sum256(fmt.Appendf(nil, "%d %d", f.CRC32, f.UncompressedSize64)), c.unreadable(err)
}

func zipFields(f *zip.File) []field {
	return []field{
		{"time", timeOf(f.Modified)},
		{"mode", f.Mode().String()},
		{"size", grouped(int64(f.UncompressedSize64))}, //nolint:gosec // only shown
		{"compression", fmt.Sprintf("method %d", f.Method)},
		{"comment", f.Comment},
		{"made by", fmt.Sprintf("version %d of system %d", f.CreatorVersion&0xff, f.CreatorVersion>>8)},
		{extraField, fmt.Sprintf("%x", f.Extra[:min(len(f.Extra), maxText)])},
	}
}
