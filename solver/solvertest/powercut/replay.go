package powercut

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// replay does to a Disk what a Log says.
type replay struct {
	log   *Log
	disk  *Disk
	open  map[int]*opened
	begun map[string]*call // by process
	cut   func(*Disk) error
}

// opened is an open file.
type opened struct {
	n      *node
	offset int64
	append bool
}

// stopError is an error of the caller's function.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func (r *replay) line(line string) error {
	pid, c, begins, ends, err := parse(line)
	if err != nil || c == nil {
		return err
	}
	if !begins {
		b := r.begun[pid]
		if b == nil || b.name != c.name {
			return fmt.Errorf("the end of a call that was not begun")
		}
		delete(r.begun, pid)
		b.args, b.result, b.at, c = append(b.args, c.args...), c.result, c.at, b
	} else if err := r.begin(c); err != nil {
		return err
	}
	if !ends {
		r.begun[pid] = c
		return nil
	}
	if c.result < 0 {
		return nil
	}
	return r.end(c)
}

// begin is what happens when a call is made.
func (r *replay) begin(c *call) error {
	switch c.name {
	case "fsync", "fdatasync":
		f, path, err := r.file(c, 0)
		if f == nil || err != nil {
			return err
		}
		c.covered = f.n.done + len(f.n.changes) + len(f.n.moves)
		r.disk.last = "before the sync of " + r.rel(path)
		return r.stop()
	case "close": // the number may be given to another before it returns
		if fd, path := c.file(0); r.log.inside(path) {
			delete(r.open, fd)
		}
	case "write":
		if fd, path := c.file(0); fd == 1 && !r.log.inside(path) {
			dt, err := c.text(1)
			if err != nil {
				return err
			}
			r.disk.said = append(r.disk.said, strings.Split(strings.TrimSuffix(string(dt), "\n"), "\n")...)
			r.disk.last = fmt.Sprintf("after it said %q", dt)
			return r.stop()
		}
	}
	return nil
}

func (r *replay) stop() error {
	if err := r.cut(r.disk); err != nil {
		return &stopError{err}
	}
	return nil
}

func (r *replay) rel(path string) string {
	rel, err := filepath.Rel(r.log.root, path)
	if err != nil {
		return path
	}
	return rel
}

// file returns an open file that is an argument; nil if it is none that is followed.
func (r *replay) file(c *call, i int) (*opened, string, error) {
	fd, path := c.file(i)
	if !r.log.inside(path) {
		return nil, path, nil
	}
	f := r.open[fd]
	if f == nil {
		return nil, path, fmt.Errorf("%s: it is not known how it was opened", path)
	}
	if !c.deleted(i) && r.disk.find(path) != f.n {
		return nil, path, fmt.Errorf("%s: another file was opened as %d", path, fd)
	}
	return f, path, nil
}

// end is what has happened when a call has returned.
func (r *replay) end(c *call) error {
	switch c.name {
	case "open", "creat", "openat":
		return r.opens(c)
	case "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat":
		return r.names(c)
	case "mmap":
		f, path, err := r.file(c, 4)
		if f != nil && strings.Contains(c.arg(2), "PROT_WRITE") && strings.Contains(c.arg(3), "MAP_SHARED") {
			return fmt.Errorf("%s is mapped and written to", path)
		}
		return err
	case "close":
		return nil
	case "fsync", "fdatasync", "read", "lseek", "write", "pwrite64", "ftruncate":
		return r.bytes(c)
	}
	// What is left is not followed, and so must not be about files that are.
	for i := range c.args {
		_, path := c.file(i)
		if c.isText(i) && i == len(c.args)-1 || c.name == "truncate" && i == 0 {
			path, _ = c.path(i)
		}
		if path != r.log.root && r.log.inside(path) {
			return fmt.Errorf("%s of %s is not followed", c.name, path)
		}
	}
	return nil
}

// bytes are the calls about what is in an open file.
func (r *replay) bytes(c *call) error {
	f, path, err := r.file(c, 0)
	if f == nil || err != nil {
		return err
	}
	switch c.name {
	case "fsync", "fdatasync":
		f.n.sync(c.covered)
		return nil
	case "read":
		f.offset += c.result
		return nil
	case "lseek":
		f.offset = c.result
		return nil
	case "ftruncate":
		size, err := c.number(1)
		if err == nil {
			f.n.change(change{truncate: true, at: size})
		}
		return err
	}
	data, err := c.text(1)
	if err != nil {
		return err
	}
	if int64(len(data)) < c.result {
		return fmt.Errorf("%s: a write of %d bytes, of which %d are known", path, c.result, len(data))
	}
	w := change{data: data[:c.result], at: f.offset}
	switch {
	case c.name == "pwrite64":
		if w.at, err = c.number(3); err != nil {
			return err
		}
	case f.append:
		w.at = f.n.size()
		fallthrough
	default:
		f.offset = w.at + c.result
	}
	f.n.change(w)
	return nil
}

func (r *replay) opens(c *call) error {
	path, at := c.at, 2
	if !r.log.inside(path) {
		return nil
	}
	if c.name != "openat" {
		at = 1
	}
	flags := strings.Split(c.arg(at), "|")
	has := func(f string) bool { return slices.Contains(flags, f) }
	if has("O_TMPFILE") || c.name == "creat" {
		return fmt.Errorf("%s: opening with %s is not followed", path, c.arg(at))
	}
	n := r.disk.find(path)
	if n == nil {
		if !has("O_CREAT") {
			return fmt.Errorf("%s was opened, and is not known", path)
		}
		n = &node{}
		if err := r.disk.move(names{path: n}); err != nil {
			return err
		}
	} else if has("O_TRUNC") && n.size() > 0 {
		n.change(change{truncate: true})
	}
	r.open[int(c.result)] = &opened{n: n, append: has("O_APPEND")}
	return nil
}

// names are the calls that change names.
func (r *replay) names(c *call) error {
	var paths []string
	for i := range c.args {
		if !c.isText(i) {
			continue
		}
		p, err := c.path(i)
		if err != nil {
			return err
		}
		paths = append(paths, p)
	}
	if !slices.ContainsFunc(paths, r.log.inside) {
		return nil
	}
	switch c.name {
	case "mkdir", "mkdirat":
		return r.disk.move(names{paths[0]: &node{dir: true, stable: map[string]*node{}}})
	case "rmdir", "unlink", "unlinkat":
		return r.disk.move(names{paths[0]: nil})
	}
	if len(paths) != 2 || !r.log.inside(paths[0]) || !r.log.inside(paths[1]) {
		return fmt.Errorf("%s from %s to %s: one of them is not followed", c.name, paths[0], paths[1])
	}
	n := r.disk.find(paths[0])
	if n == nil {
		return fmt.Errorf("%s is not known", paths[0])
	}
	switch {
	case c.name == "link" || c.name == "linkat":
		return r.disk.move(names{paths[1]: n})
	case c.name == "renameat2" && strings.Contains(c.arg(4), "RENAME_EXCHANGE"):
		return fmt.Errorf("an exchange of names is not followed")
	case n == r.disk.find(paths[1]):
		return nil // by POSIX that changes nothing
	}
	return r.disk.move(names{paths[0]: nil, paths[1]: n})
}
