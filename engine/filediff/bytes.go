package filediff

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// bytes compares all bytes.
func (c *comparison) bytes(members []string, a, b blob) (found bool, err error) {
	x, err := c.reader(a)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	y, err := c.reader(b)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	p, err := readPair(x, y, true)
	if err != nil || p.same() {
		return false, err
	}
	f := Finding{Kind: Bytes, Offset: p.first, Count: p.count}
	if p.first < 0 {
		f = Finding{Kind: Longer, Field: "size", Old: grouped(p.sizeA), New: grouped(p.sizeB), Offset: min(p.sizeA, p.sizeB)}
	}
	if p.sizeA != p.sizeB {
		f.Count = 0
	}
	if !p.binary {
		err = c.text(&f, p, a, b)
	}
	c.add(members, f)
	return true, err
}

// text adds the line of the first difference, if people can read it in both files.
func (c *comparison) text(f *Finding, p *pairing, a, b blob) error {
	if f.Kind != Bytes {
		return nil
	}
	old, ok, err := c.textAt(a, p)
	if err != nil || !ok {
		return err
	}
	new, ok, err := c.textAt(b, p)
	if err != nil || !ok {
		return err
	}
	f.Line = p.line
	if !c.opt.NoText {
		f.Old, f.New = old, new
	}
	return nil
}

// pairing is what reading two files side by side has shown.
type pairing struct {
	sizeA, sizeB int64
	first        int64 // the offset of the first difference; -1 if there is none as far as both go
	count        int64
	line         int   // of first, from 1
	lineStart    int64 // the offset of its beginning
	binary       bool
}

func (p *pairing) same() bool { return p.first < 0 && p.sizeA == p.sizeB }

// readPair reads to the end, or without all to the first difference.
func readPair(a, b io.Reader, all bool) (*pairing, error) {
	p := &pairing{first: -1, line: 1}
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := fill(a, bufA)
		m, errB := fill(b, bufB)
		if err := errors.Join(errA, errB); err != nil {
			return nil, err
		}
		p.take(bufA[:n], bufB[:m])
		if n == 0 && m == 0 || !all && !p.same() {
			return p, nil
		}
	}
}

// fill reads until buf is full or the file ends. What is cut off is an error, which
// io.ReadFull would not tell from the end.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// take goes on with a part of each.
func (p *pairing) take(a, b []byte) {
	if p.sizeA == 0 && p.sizeB == 0 {
		p.binary = bytes.IndexByte(a, 0) >= 0 || bytes.IndexByte(b, 0) >= 0
	}
	at := p.sizeA
	p.sizeA += int64(len(a))
	p.sizeB += int64(len(b))
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		p.lines(at, a[:n])
		return
	}
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if p.first < 0 {
			p.lines(at, a[:i])
			p.first = at + int64(i)
		}
		p.count++
	}
}

// lines counts the lines before the first difference.
func (p *pairing) lines(at int64, equal []byte) {
	if p.first >= 0 {
		return
	}
	p.line += bytes.Count(equal, []byte("\n"))
	if i := bytes.LastIndexByte(equal, '\n'); i >= 0 {
		p.lineStart = at + int64(i) + 1
	}
}

// before is how much of a line is shown before its first byte that differs.
const before = 60

// textAt is what of the line of the first difference is shown. False says that it is no text.
func (c *comparison) textAt(b blob, p *pairing) (_ string, ok bool, err error) {
	r, err := c.reader(b)
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	start := max(p.lineStart, p.first-before)
	if _, err := io.CopyN(io.Discard, r, start); err != nil {
		return "", false, err
	}
	line, err := io.ReadAll(io.LimitReader(r, before+maxText))
	if err != nil {
		return "", false, err
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	cutOff := ""
	if start > p.lineStart {
		cutOff = "…"
		for len(line) > 0 && !utf8.RuneStart(line[0]) {
			line = line[1:]
		}
	}
	text := strings.TrimSuffix(string(line), "\r")
	return cutOff + text, isText(text), nil
}

// isText says whether people can read a line.
func isText(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError && i < len(s)-utf8.UTFMax || unicode.IsControl(r) && r != '\t' && r != '\x1b' {
			return false
		}
	}
	return true
}
