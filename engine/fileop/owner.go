package fileop

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/sys/user"
	fscopy "github.com/tonistiigi/fsutil/copy"
)

// Where names of users and groups are looked up.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// maxUserFile bounds what is read of such a file.
const maxUserFile = 16 << 20

// user resolves an owner; nil if there is none. A user's number is the group's, too,
// unless a group is given; a user's name brings the group it has in /etc/passwd.
func (r *run) user(ctx context.Context, o *pb.ChownOpt) (*fscopy.User, error) {
	if o == nil {
		return nil, nil
	}
	u := &fscopy.User{}
	switch x := o.GetUser().GetUser().(type) {
	case *pb.UserOpt_ByID:
		u.UID, u.GID = int(x.ByID), int(x.ByID)
	case *pb.UserOpt_ByName:
		dir, err := r.read(ctx, x.ByName.Input)
		if err != nil {
			return nil, err
		}
		if u.UID, u.GID, err = lookupUser(dir, x.ByName.Name); err != nil {
			return nil, inTree(err, dir)
		}
	}
	switch x := o.GetGroup().GetUser().(type) {
	case *pb.UserOpt_ByID:
		u.GID = int(x.ByID)
	case *pb.UserOpt_ByName:
		dir, err := r.read(ctx, x.ByName.Input)
		if err != nil {
			return nil, err
		}
		if u.GID, err = lookupGroup(dir, x.ByName.Name); err != nil {
			return nil, inTree(err, dir)
		}
	}
	return u, nil
}

func lookupUser(root, name string) (uid, gid int, err error) {
	f, err := openIn(root, passwdFile)
	if err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", name, err)
	}
	defer f.Close()
	found, err := user.ParsePasswdFilter(limited(f), func(u user.User) bool { return u.Name == name })
	if err != nil {
		return 0, 0, fmt.Errorf("user %q: %s: %w", name, passwdFile, err)
	}
	if len(found) == 0 {
		return 0, 0, fmt.Errorf("user %q is not in %s: use a number, or a name that is there", name, passwdFile)
	}
	return found[0].Uid, found[0].Gid, nil
}

func lookupGroup(root, name string) (gid int, err error) {
	f, err := openIn(root, groupFile)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	defer f.Close()
	found, err := user.ParseGroupFilter(limited(f), func(g user.Group) bool { return g.Name == name })
	if err != nil {
		return 0, fmt.Errorf("group %q: %s: %w", name, groupFile, err)
	}
	if len(found) == 0 {
		return 0, fmt.Errorf("group %q is not in %s: use a number, or a name that is there", name, groupFile)
	}
	return found[0].Gid, nil
}

// openIn opens a regular file of a tree. Others could be devices of this machine, or
// never answer.
func openIn(root, p string) (*os.File, error) {
	resolved, err := fs.RootPath(root, p)
	if err != nil {
		return nil, err
	}
	fi, err := os.Lstat(resolved)
	if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("there is no %s to look it up in: use a number", p)
	}
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file that can be read", p)
	}
	return os.Open(resolved)
}

func limited(f *os.File) io.Reader { return io.LimitReader(f, maxUserFile) }
