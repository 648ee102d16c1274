package powercut

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// call is a system call, as strace prints it.
type call struct {
	name string
	args []string
	// result is what it returned; less than 0 is an error, or no return. For one that is
	// a descriptor, at is its path.
	result int64
	at     string
	// covered is what of a file a sync finds when it begins.
	covered int
}

const unfinished = " <unfinished ...>"

// parse reads a line: "PID name(args) = result". A call that others interrupt is on two
// lines: "PID name(args <unfinished ...>" and "PID <... name resumed>rest) = result". It
// says whether the call begins here, and whether it ends here.
func parse(line string) (pid string, c *call, begins, ends bool, err error) {
	pid, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimLeft(rest, " ")
	if rest == "" || strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
		return pid, nil, false, false, nil
	}
	c = &call{result: -1}
	if s, ok := strings.CutPrefix(rest, "<... "); ok {
		var found bool
		if c.name, rest, found = strings.Cut(s, " resumed>"); !found {
			return "", nil, false, false, fmt.Errorf("a line that is not understood")
		}
	} else {
		begins = true
		var found bool
		if c.name, rest, found = strings.Cut(rest, "("); !found {
			return "", nil, false, false, fmt.Errorf("a line that is not understood")
		}
	}
	if s, ok := strings.CutSuffix(rest, unfinished); ok {
		c.args = split(s)
		return pid, c, begins, false, nil
	}
	i := strings.LastIndex(rest, ") ")
	for ; i > 0 && !strings.HasPrefix(strings.TrimLeft(rest[i+1:], " "), "= "); i = strings.LastIndex(rest[:i], ") ") {
	}
	if i < 0 {
		return "", nil, false, false, fmt.Errorf("a line that is not understood")
	}
	c.args = split(rest[:i])
	result := strings.TrimPrefix(strings.TrimLeft(rest[i+1:], " "), "= ")
	_, c.at = descriptor(result)
	result, _, _ = strings.Cut(result, " ")
	result, _, _ = strings.Cut(result, "<")
	if result != "?" {
		if c.result, err = strconv.ParseInt(result, 0, 64); err != nil {
			c.result = 0 // an address, which may be large
		}
	}
	return pid, c, begins, true, nil
}

// split splits arguments. All text in them is in hex, so that it has no commas.
func split(s string) []string {
	s = strings.TrimSuffix(strings.TrimSpace(s), ",")
	if s == "" {
		return nil
	}
	return strings.Split(s, ", ")
}

// arg returns an argument, or "".
func (c *call) arg(i int) string {
	if 0 <= i && i < len(c.args) {
		return c.args[i]
	}
	return ""
}

func (c *call) number(i int) (int64, error) { return strconv.ParseInt(c.arg(i), 0, 64) }

// text returns an argument that is text.
func (c *call) text(i int) ([]byte, error) {
	s, ok := strings.CutPrefix(c.arg(i), `"`)
	if ok {
		s, ok = strings.CutSuffix(s, `"`)
	}
	if !ok {
		return nil, fmt.Errorf("argument %d of %s is not whole", i, c.name)
	}
	return hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
}

// file returns an argument that is a descriptor: its number, and its path.
func (c *call) file(i int) (fd int, path string) { return descriptor(c.arg(i)) }

// deleted says of an argument that is a descriptor that its path leads there no more.
func (c *call) deleted(i int) bool { return strings.HasSuffix(c.arg(i), "(deleted)") }

// descriptor reads "5<path>". Without a number it is that of the working folder, and -1.
func descriptor(s string) (fd int, path string) {
	num, rest, _ := strings.Cut(s, "<")
	rest, _, _ = strings.Cut(rest, ">")
	dt, err := hex.DecodeString(strings.ReplaceAll(rest, `\x`, ""))
	if err != nil {
		return -1, ""
	}
	if fd, err = strconv.Atoi(num); err != nil {
		fd = -1
	}
	return fd, string(dt)
}

// isText says whether an argument is text.
func (c *call) isText(i int) bool { return strings.HasPrefix(c.arg(i), `"`) }

// path returns a path: the text i, in the folder that is the argument before it, if that
// is one.
func (c *call) path(i int) (string, error) {
	dt, err := c.text(i)
	if err != nil {
		return "", err
	}
	if filepath.IsAbs(string(dt)) {
		return filepath.Clean(string(dt)), nil
	}
	_, dir := c.file(i - 1)
	if dir == "" {
		return "", fmt.Errorf("%s with a relative path is not followed", c.name)
	}
	return filepath.Join(dir, string(dt)), nil
}
