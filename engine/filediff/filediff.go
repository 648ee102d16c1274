// Package filediff says where two files differ: from which byte on, in which line of a
// text, and in tar, zip and gzip archives in which member, or in what the archive says of
// it. Archives in archives are gone into, a few levels deep.
//
// Whoever made the files may mean harm: what is read of archives is bounded, and so is what
// is said.
package filediff

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
)

// File is one of the files. Open may be called several times.
type File struct {
	Open func() (io.ReadCloser, error)
}

// Kind is what differs. The values are part of the JSON form.
type Kind string

// All kinds there are.
const (
	// Bytes: Offset is that of the first byte that differs.
	Bytes Kind = "bytes"
	// Longer: one file begins with all that the other is. Old and New are the sizes.
	Longer Kind = "longer"
	// Header: what an archive says of the member, or gzip of its file. Field names it.
	Header Kind = "header"
	// Added, Removed: only one of the archives has the member.
	Added   Kind = "added"
	Removed Kind = "removed"
	// Order: the archives have the same members in another order. Old and New are the
	// first that have changed places.
	Order Kind = "order"
	// Unreadable: what the archive says of the member's bytes differs, and they cannot be
	// read. New says why.
	Unreadable Kind = "unreadable"
	// Compression: what was compressed is the same.
	Compression Kind = "compression"
)

// Finding is one difference.
type Finding struct {
	// Members lead to where it is: a member of the archive, a member of that, and so on.
	// With none, it is the file itself.
	Members []string `json:"members,omitempty"`
	Kind    Kind     `json:"kind"`
	Field   string   `json:"field,omitempty"`
	// Old and New are the values of a Field, or of a text the line that has the first
	// byte that differs, cut to its beginning.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Of Bytes: the offset of the first byte, counted from 0, and how many differ; 0 where
	// the sizes do, too, since what follows may only have moved.
	Offset int64 `json:"offset,omitempty"`
	Count  int64 `json:"count,omitempty"`
	// Line is the line of the first byte in a text, counted from 1; 0 in what is no text.
	Line int `json:"line,omitempty"`
}

// Diff is what was found.
type Diff struct {
	Findings []Finding `json:"findings"`
	// LeftOut is how many more there are at least.
	LeftOut int `json:"left_out,omitempty"`
	// Incomplete says why not all was looked at; "" if it was.
	Incomplete string `json:"incomplete,omitempty"`
}

// Options choose what Compare says.
type Options struct {
	// NoText leaves out the lines of texts, where they should not be repeated.
	NoText bool
	// Budget, if not nil, is shared by several calls; otherwise a call has its own.
	Budget *Budget
}

// Budget is how many bytes are read of the members of archives.
type Budget struct{ left int64 }

// NewBudget returns one of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{bytes} }

// What a hostile archive can make Compare do is bounded by these.
const (
	maxDepth    = 4        // archives in archives
	maxMembers  = 100_000  // of one archive
	maxUnpacked = 2 << 30  // bytes of archives' members that are read
	maxHeaders  = 16 << 20 // bytes of what is kept of an archive's headers, or of a zip's directory
	maxInMemory = 32 << 20 // a zip archive in another archive, which is read from its end
	maxName     = 1024     // bytes of a member's name that are told
	maxFindings = 20
	maxInside   = 5   // members of one archive whose bytes are compared
	maxText     = 160 // bytes
)

// errBudget says that a budget was used up.
var errBudget = errors.New("the archives have more in them than is compared: the rest was not looked at")

// Compare says where two files differ. It returns no findings for equal ones.
func Compare(ctx context.Context, old, new File, opt Options) (*Diff, error) {
	if opt.Budget == nil {
		opt.Budget = NewBudget(maxUnpacked)
	}
	c := &comparison{ctx: ctx, opt: opt, diff: &Diff{Findings: []Finding{}}}
	_, err := c.compare(nil, blob{open: old.Open}, blob{open: new.Open})
	if errors.Is(err, errBudget) {
		c.diff.Incomplete, err = errBudget.Error(), nil
	}
	return c.diff, err
}

// Equal says whether two files have the same bytes.
func Equal(ctx context.Context, a, b File) (bool, error) {
	return (&comparison{ctx: ctx}).equal(blob{open: a.Open}, blob{open: b.Open})
}

// comparison is one call of Compare.
type comparison struct {
	ctx  context.Context
	opt  Options
	diff *Diff
}

// blob is a file, or a member of an archive.
type blob struct {
	open   func() (io.ReadCloser, error)
	member bool
}

func (c *comparison) add(members []string, f Finding) {
	if len(c.diff.Findings) == maxFindings {
		c.diff.LeftOut++
		return
	}
	for _, m := range members {
		f.Members = append(f.Members, cut(m, maxName))
	}
	f.Old, f.New = cut(f.Old, maxText), cut(f.New, maxText)
	c.diff.Findings = append(c.diff.Findings, f)
}

// total is how many differences there are so far.
func (c *comparison) total() int { return len(c.diff.Findings) + c.diff.LeftOut }

// cut bounds a text, and has it be UTF-8.
func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// compare says whether something was found.
func (c *comparison) compare(members []string, a, b blob) (found bool, err error) {
	if len(members) < maxDepth {
		format, err := c.format(a, b)
		if err != nil {
			return false, err
		}
		if format != nil {
			found, err = format(c, members, a, b)
			if found || errors.Is(err, errBudget) || c.ctx.Err() != nil {
				return found, err
			}
			// It is no archive after all, a damaged one, or differs where no member is.
		}
	}
	return c.bytes(members, a, b)
}

// format is how both are gone into; nil where that cannot be.
func (c *comparison) format(a, b blob) (func(*comparison, []string, blob, blob) (bool, error), error) {
	x, err := c.begin(a)
	if err != nil {
		return nil, err
	}
	y, err := c.begin(b)
	if err != nil {
		return nil, err
	}
	for _, f := range formats {
		if f.is(x) && f.is(y) {
			return f.compare, nil
		}
	}
	return nil, nil
}

// formats are the archives there are.
var formats []format

type format struct {
	is      func(begin string) bool
	compare func(*comparison, []string, blob, blob) (bool, error)
}

func init() { // which would otherwise refer to itself
	formats = []format{
		{func(s string) bool { return strings.HasPrefix(s, "\x1f\x8b") }, (*comparison).gzip},
		{func(s string) bool { return strings.HasPrefix(s, "PK\x03\x04") || strings.HasPrefix(s, "PK\x05\x06") }, (*comparison).zip},
		{func(s string) bool { return len(s) > 262 && s[257:262] == "ustar" }, (*comparison).tar},
	}
}

// begin is how a blob begins.
func (c *comparison) begin(b blob) (_ string, err error) {
	r, err := c.reader(b)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, 512)
	n, err := fill(r, buf)
	return string(buf[:n]), err
}

// reader opens a blob for reading until the context ends, and a member within the budget.
func (c *comparison) reader(b blob) (*bounded, error) {
	if err := context.Cause(c.ctx); err != nil {
		return nil, err
	}
	r, err := b.open()
	if err != nil {
		return nil, err
	}
	return &bounded{ReadCloser: r, c: c, counts: b.member}, nil
}

type bounded struct {
	io.ReadCloser
	c      *comparison
	counts bool
}

func (r *bounded) Read(p []byte) (int, error) {
	if err := context.Cause(r.c.ctx); err != nil {
		return 0, err
	}
	if !r.counts {
		return r.ReadCloser.Read(p)
	}
	b := r.c.opt.Budget
	if b.left <= 0 {
		return 0, errBudget
	}
	n, err := r.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt where the file does.
func (r *bounded) ReadAt(p []byte, off int64) (int, error) {
	at, ok := r.ReadCloser.(io.ReaderAt)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	if err := context.Cause(r.c.ctx); err != nil {
		return 0, err
	}
	return at.ReadAt(p, off)
}

// size is that of a file on a disk, which can be read anywhere.
func (r *bounded) size() (int64, bool) {
	_, ok := r.ReadCloser.(io.ReaderAt)
	f, ok2 := r.ReadCloser.(interface{ Stat() (fs.FileInfo, error) })
	if !ok || !ok2 {
		return 0, false
	}
	fi, err := f.Stat()
	return fi.Size(), err == nil
}
