package why

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// action says what a file action does. All that can change its result is in it.
func action(a *pb.FileAction) string {
	w := &words{}
	switch x := a.GetAction().(type) {
	case *pb.FileAction_Copy:
		w.copy(x.Copy)
	case *pb.FileAction_Mkfile:
		w.add("write %s", x.Mkfile.GetPath())
		w.mode(x.Mkfile.GetMode(), "")
		w.owner(x.Mkfile.GetOwner())
		w.time(x.Mkfile.GetTimestamp())
		w.add("%q", bounded(string(x.Mkfile.GetData())))
	case *pb.FileAction_Mkdir:
		w.add("mkdir %s", x.Mkdir.GetPath())
		w.mode(x.Mkdir.GetMode(), "")
		w.when(x.Mkdir.GetMakeParents(), "--parents")
		w.owner(x.Mkdir.GetOwner())
		w.time(x.Mkdir.GetTimestamp())
	case *pb.FileAction_Rm:
		w.add("rm %s", x.Rm.GetPath())
		w.when(x.Rm.GetAllowNotFound(), "--force")
		w.when(x.Rm.GetAllowWildcard(), "--wildcard")
	case *pb.FileAction_Symlink:
		w.add("symlink %s %s", x.Symlink.GetOldpath(), x.Symlink.GetNewpath())
		w.owner(x.Symlink.GetOwner())
		w.time(x.Symlink.GetTimestamp())
	default:
		w.add("unknown action")
	}
	return strings.Join(*w, " ")
}

type words []string

func (w *words) add(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

func (w *words) when(yes bool, word string) {
	if yes {
		*w = append(*w, word)
	}
}

func (w *words) copy(c *pb.FileActionCopy) {
	w.add("copy %s %s", c.GetSrc(), c.GetDest())
	w.mode(c.GetMode(), c.GetModeStr())
	w.owner(c.GetOwner())
	w.time(c.GetTimestamp())
	w.when(c.GetFollowSymlink(), "--follow")
	w.when(c.GetDirCopyContents(), "--contents")
	w.when(c.GetAttemptUnpackDockerCompatibility(), "--unpack")
	w.when(c.GetCreateDestPath(), "--parents")
	w.when(c.GetAllowWildcard(), "--wildcard")
	w.when(c.GetAllowEmptyWildcard(), "--empty")
	w.when(c.GetAlwaysReplaceExistingDestPaths(), "--replace")
	for _, p := range c.GetIncludePatterns() {
		w.add("--include=%s", p)
	}
	for _, p := range c.GetExcludePatterns() {
		w.add("--exclude=%s", p)
	}
	for _, p := range c.GetRequiredPaths() {
		w.add("--required=%s", p)
	}
}

func (w *words) mode(mode int32, text string) {
	switch {
	case text != "":
		w.add("--chmod=%s", text)
	case mode > 0:
		w.add("--chmod=%04o", mode)
	}
}

func (w *words) time(nanoseconds int64) {
	if nanoseconds != -1 {
		w.add("--time=%d", nanoseconds)
	}
}

func (w *words) owner(o *pb.ChownOpt) {
	if o == nil {
		return
	}
	name := func(u *pb.UserOpt) string {
		if by := u.GetByName(); by != nil {
			return by.GetName()
		}
		return fmt.Sprint(u.GetByID())
	}
	w.add("--chown=%s:%s", name(o.GetUser()), name(o.GetGroup()))
}
