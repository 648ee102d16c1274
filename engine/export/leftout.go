package export

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/tonistiigi/fsutil/types"
)

// leftOut is what a directory on this machine does not get of a tree. An image's
// programs that are setuid or setgid, or have capabilities, would have on the machine
// the rights that they have in a container, for all of its users; so would devices,
// which are the machine's own. Archives have all of it: who unpacks them decides.
//
// The zero value leaves out all that.
type leftOut struct {
	keep bool // as far as the files' owner is who writes them

	stripped, omitted           int
	firstStripped, firstOmitted string
	// paths are those omitted, which hard links may be to.
	paths map[string]bool
}

// omits says whether a file is left out altogether.
func (l *leftOut) omits(st *types.Stat, mode os.FileMode) bool {
	device := mode&os.ModeDevice != 0 && !l.keep
	link := mode&os.ModeSymlink == 0 && l.paths[st.Linkname]
	if !device && !link {
		return false
	}
	if l.omitted++; l.omitted == 1 {
		l.firstOmitted = st.Path
	}
	if l.paths == nil {
		l.paths = map[string]bool{}
	}
	l.paths[st.Path] = true
	return true
}

// strip takes from a file's information what it does not get. A program that runs as
// its owner never becomes one that runs as whoever writes it.
func (l *leftOut) strip(st *types.Stat, mode os.FileMode) {
	var bits os.FileMode
	if !l.keep || int(st.Uid) != os.Geteuid() {
		bits |= os.ModeSetuid
	}
	if !l.keep || int(st.Gid) != os.Getegid() {
		bits |= os.ModeSetgid
	}
	stripped := mode&bits != 0 && mode&os.ModeSymlink == 0
	st.Mode &^= uint32(bits)
	if !l.keep {
		for k := range st.Xattrs {
			if !strings.HasPrefix(k, "user.") { // capabilities, lists of users who have access
				delete(st.Xattrs, k)
				stripped = true
			}
		}
	}
	// A hard link is the file that was counted.
	if !stripped || st.Linkname != "" {
		return
	}
	if l.stripped++; l.stripped == 1 {
		l.firstStripped = st.Path
	}
}

// say warns of what was left out, once.
func (l *leftOut) say(ctx context.Context) {
	var said []string
	if l.stripped > 0 {
		said = append(said, fmt.Sprintf("%s written without setuid and setgid bits, capabilities and access lists, the first is %q", were(l.stripped, "file"), l.firstStripped))
	}
	if l.omitted > 0 {
		said = append(said, fmt.Sprintf("%s left out, the first is %q", were(l.omitted, "device"), l.firstOmitted))
	}
	if len(said) == 0 {
		return
	}
	hint := "privileged-files=true keeps them, and so do archives (type=tar, oci, docker)"
	if l.keep {
		hint = "they belong to another user; archives (type=tar, oci, docker) keep them"
	}
	warn(ctx, strings.Join(said, "; ")+": "+hint)
}

// were is a number of things, in words: "1 file was", "2 files were".
func were(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " was"
	}
	return fmt.Sprintf("%d %ss were", n, thing)
}
