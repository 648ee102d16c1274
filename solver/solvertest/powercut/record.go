package powercut

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// calls are the system calls that are noted.
const calls = "open,openat,creat,close,lseek,read,write,pwrite64,writev,pwritev,pwritev2," +
	"ftruncate,truncate,fallocate,copy_file_range,sendfile,splice,mmap,fsync,fdatasync," +
	"rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat,mknod,mknodat"

// longest is how many bytes of a write are noted: a longer one is an error.
const longest = 8 << 20

// Tool is the program that Record needs.
const Tool = "strace"

// Log is what a program has done to the files below a folder.
type Log struct {
	root  string
	skip  []string
	start *node
	lines []string
}

// Record runs a program to its end, which must be a good one, and notes what it does to
// the files below root. What is there when it begins is taken to be synced. What is below
// the folders skip, which are relative to root, is not looked at. What the program prints
// on its standard output is noted by lines, and goes nowhere else.
func Record(cmd *exec.Cmd, root string, skip ...string) (*Log, error) {
	strace, err := exec.LookPath(Tool)
	if err != nil {
		return nil, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	l := &Log{root: root, skip: skip, start: &node{dir: true}}
	if err := l.read(root, l.start); err != nil {
		return nil, err
	}
	out, err := os.CreateTemp("", "powercut-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	program := cmd.Path
	cmd.Path = strace
	cmd.Args = append([]string{
		strace, "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", fmt.Sprint(longest), "-e", "signal=none",
		"-e", "trace=" + calls, "-o", out.Name(), program,
	}, cmd.Args[1:]...)
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, complaint.Bytes())
	}
	in := bufio.NewScanner(out)
	in.Buffer(nil, 5*longest)
	for in.Scan() {
		l.lines = append(l.lines, in.Text())
	}
	return l, in.Err()
}

// read reads what is in a folder.
func (l *Log) read(dir string, n *node) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	n.stable = map[string]*node{}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		child := &node{dir: e.IsDir()}
		switch {
		case l.skips(name):
			continue
		case e.IsDir():
			err = l.read(name, child)
		case e.Type().IsRegular():
			child.bytes, err = os.ReadFile(name)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", name)
		}
		if err != nil {
			return err
		}
		n.stable[e.Name()] = child
	}
	return nil
}

// inside says whether a path is below the root, and followed.
func (l *Log) inside(path string) bool {
	return (path == l.root || strings.HasPrefix(path, l.root+"/")) && !l.skips(path)
}

func (l *Log) skips(path string) bool {
	for _, s := range l.skip {
		if s = filepath.Join(l.root, s); path == s || strings.HasPrefix(path, s+"/") {
			return true
		}
	}
	return false
}

// Cuts calls fn with the disk as it is before each sync, after each line that the program
// has printed, and at its end. An error ends it.
func (l *Log) Cuts(fn func(*Disk) error) error {
	d := newDisk(l)
	r := &replay{log: l, disk: d, open: map[int]*opened{}, begun: map[string]*call{}, cut: fn}
	for _, line := range l.lines {
		if err := r.line(line); err != nil {
			var stop *stopError
			if errors.As(err, &stop) {
				return stop.err
			}
			return fmt.Errorf("%.200s: %w", line, err)
		}
	}
	d.last = "the program's end"
	return fn(d)
}
