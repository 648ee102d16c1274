package filediff

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

func (c *comparison) tar(path []string, a, b blob) (bool, error) {
	before, err := c.listTar(a)
	if err != nil {
		return false, c.unreadable(err)
	}
	after, err := c.listTar(b)
	if err != nil {
		return false, c.unreadable(err)
	}
	return c.members(path, before, after)
}

func (c *comparison) listTar(b blob) (all []member, err error) {
	r, err := c.reader(b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	tr := tar.NewReader(r)
	for kept := 0; ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		m := member{name: h.Name, fields: tarFields(h), blob: c.tarMember(b, len(all))}
		if kept += m.size(); kept > maxHeaders || len(all) == maxMembers {
			return nil, errMembers
		}
		// A sparse file has more bytes than the archive.
		content := &bounded{ReadCloser: io.NopCloser(tr), c: c, counts: true}
		if m.sum, err = sumOf(content); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
}

// tarMember is the content of the member of a number.
func (c *comparison) tarMember(of blob, number int) blob {
	return blob{member: true, open: func() (io.ReadCloser, error) {
		r, err := c.reader(of)
		if err != nil {
			return nil, err
		}
		tr := tar.NewReader(r)
		for range number + 1 {
			if _, err := tr.Next(); err != nil {
				return nil, errors.Join(err, r.Close())
			}
		}
		return within{tr, r}, nil
	}}
}

// within reads a part of what is closed with it.
type within struct {
	io.Reader
	io.Closer
}

var tarTypes = map[byte]string{
	tar.TypeReg: "file", tar.TypeLink: "hard link", tar.TypeSymlink: "symlink", tar.TypeChar: "character device",
	tar.TypeBlock: "block device", tar.TypeDir: "directory", tar.TypeFifo: "fifo",
}

func tarFields(h *tar.Header) []field {
	kind := tarTypes[h.Typeflag]
	if kind == "" {
		kind = fmt.Sprintf("type %q", h.Typeflag)
	}
	return []field{
		{"type", kind},
		{"mode", fmt.Sprintf("%04o", h.Mode)},
		{"owner", fmt.Sprintf("%d:%d", h.Uid, h.Gid)},
		{"owner's name", h.Uname + ":" + h.Gname},
		{"time", timeOf(h.ModTime)},
		{"access time", timeOf(h.AccessTime)},
		{"change time", timeOf(h.ChangeTime)},
		{"target", h.Linkname},
		{"size", grouped(h.Size)},
		{"device", fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)},
		{"attributes", attributes(h.PAXRecords)},
	}
}

// attributes are the records of a header that no other field tells.
func attributes(records map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(records)) {
		if strings.Contains(k, ".") { // others are the header's own fields
			all = append(all, fmt.Sprintf("%s=%q", k, records[k]))
		}
	}
	return strings.Join(all, " ")
}

func timeOf(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.UTC().Format(time.RFC3339Nano)
}
