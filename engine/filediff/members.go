package filediff

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
)

// member is what an archive has of a name.
type member struct {
	name   string
	fields []field // the same ones, in the same order, in each archive of a format
	sum    [sha256.Size]byte
	blob   blob
}

type field struct{ name, value string }

// size is about what is kept of a member.
func (m *member) size() (n int) {
	n = len(m.name)
	for _, f := range m.fields {
		n += len(f.value)
	}
	return n
}

// errMembers says that maxMembers or maxHeaders was reached.
var errMembers = errors.New("an archive has too many members, or too much is said of them")

// members compares what two archives have.
func (c *comparison) members(path []string, before, after []member) (found bool, err error) {
	had := c.total()
	news := map[string]member{}
	for id, m := range named(after) {
		news[id] = m
	}
	inside := 0
	for id, was := range named(before) {
		at := append(slices.Clip(path), was.name)
		is, ok := news[id]
		delete(news, id)
		if !ok {
			c.add(at, Finding{Kind: Removed})
			continue
		}
		c.fields(at, was.fields, is.fields)
		if was.sum == is.sum {
			continue
		}
		if inside++; inside > maxInside {
			c.diff.LeftOut++
			continue
		}
		if _, err := c.compare(at, was.blob, is.blob); err != nil {
			if stop := c.unreadable(err); stop != nil {
				return c.total() > had, stop
			}
			c.add(at, Finding{Kind: Unreadable, New: err.Error()})
		}
	}
	for id, m := range named(after) {
		if _, ok := news[id]; ok {
			c.add(append(slices.Clip(path), m.name), Finding{Kind: Added})
		}
	}
	if c.total() == had {
		c.order(path, before, after)
	}
	return c.total() > had, nil
}

// named are members by a name that no other of the archive has.
func named(all []member) func(yield func(string, member) bool) {
	return func(yield func(string, member) bool) {
		times := map[string]int{}
		for _, m := range all {
			times[m.name]++
			if !yield(fmt.Sprintf("%s\x00%d", m.name, times[m.name]), m) {
				return
			}
		}
	}
}

// extraField is the bytes of a header that have more of it, such as a time to the second.
const extraField = "extra field"

func (c *comparison) fields(path []string, was, is []field) {
	had := c.total()
	for i, f := range was {
		if f == is[i] || f.name == extraField && c.total() > had {
			continue
		}
		c.add(path, Finding{Kind: Header, Field: f.name, Old: f.value, New: is[i].value})
	}
}

// order looks for the first members that have changed places. All else is the same.
func (c *comparison) order(path []string, before, after []member) {
	for i := range min(len(before), len(after)) {
		if before[i].name != after[i].name {
			c.add(path, Finding{Kind: Order, Old: before[i].name, New: after[i].name})
			return
		}
	}
}

// unreadable is nil for an error that only says that a file is no sound archive: its bytes
// are compared, then.
func (c *comparison) unreadable(err error) error {
	if errors.Is(err, errBudget) {
		return err
	}
	return context.Cause(c.ctx)
}

// sumOf reads a member.
func sumOf(r io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.Copy(h, r)
	h.Sum(sum[:0])
	return sum, err
}
