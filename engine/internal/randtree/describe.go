package randtree

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"
)

// Filter is what Describe looks at.
type Filter struct {
	Include, Exclude []string // as in .dockerignore
	NoOwners         bool
	NoRoot           bool // not at the mode and the owner of the base itself
}

// Describe says in words what is in the tree below base, which is a path without
// links: all that a digest should cover, and nothing else.
func (x *Tree) Describe(base string, opt Filter) string {
	var inc, exc *patternmatcher.PatternMatcher
	var err error
	if len(opt.Include) > 0 {
		inc, err = patternmatcher.New(opt.Include)
		x.do(err)
	}
	if len(opt.Exclude) > 0 {
		exc, err = patternmatcher.New(opt.Exclude)
		x.do(err)
	}
	lines := map[string]string{}
	chosen := map[string]bool{".": true}
	x.do(filepath.WalkDir(x.abs(base), func(p string, d fs.DirEntry, err error) error {
		x.do(err)
		rel, err := filepath.Rel(x.abs(base), p)
		x.do(err)
		lines[rel] = x.describe(p, opt)
		if rel == "." && opt.NoRoot {
			lines[rel] = ""
		}
		if rel == "." {
			return nil
		}
		in, out := true, false
		if inc != nil {
			in, err = inc.MatchesOrParentMatches(rel)
			x.do(err)
		}
		if exc != nil {
			out, err = exc.MatchesOrParentMatches(rel)
			x.do(err)
		}
		for in && !out && rel != "." {
			chosen[rel] = true
			rel = filepath.Dir(rel)
		}
		return nil
	}))
	var all []string
	for rel := range chosen {
		all = append(all, fmt.Sprintf("%q %s", rel, lines[rel]))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (x *Tree) describe(p string, opt Filter) string {
	var st syscall.Stat_t
	x.do(syscall.Lstat(p, &st))
	s := fmt.Sprintf("type %o ", st.Mode&syscall.S_IFMT)
	if !opt.NoOwners {
		s += fmt.Sprintf("owner %d:%d ", st.Uid, st.Gid)
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFLNK:
		target, err := os.Readlink(p)
		x.do(err)
		return s + fmt.Sprintf("to %q", target)
	case syscall.S_IFREG:
		b, err := os.ReadFile(p)
		x.do(err)
		s += fmt.Sprintf("bytes %q ", b)
	case syscall.S_IFCHR:
		s += fmt.Sprintf("device %d ", st.Rdev)
	}
	value := make([]byte, 10)
	n, err := unix.Lgetxattr(p, "user.tenon", value)
	if err == nil {
		s += fmt.Sprintf("xattr %q ", value[:n])
	}
	return s + fmt.Sprintf("mode %o", st.Mode&0o7777)
}
