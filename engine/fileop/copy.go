package fileop

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	fscopy "github.com/tonistiigi/fsutil/copy"
)

// cleanPath makes a path absolute and clean, and keeps what its end says: a slash,
// or "/." for what is in a directory.
func cleanPath(p string) string {
	clean := path.Join("/", p)
	switch {
	case strings.HasSuffix(p, "/.") || p == ".":
		return strings.TrimSuffix(clean, "/") + "/."
	case strings.HasSuffix(p, "/") && clean != "/":
		return clean + "/"
	default:
		return clean
	}
}

// copyFiles copies from the tree at src to the tree at dest.
func copyFiles(ctx context.Context, src, dest string, a *pb.FileActionCopy, u *fscopy.User) error {
	to := cleanPath(a.Dest)
	if !a.CreateDestPath {
		p, err := fs.RootPath(dest, path.Join("/", a.Dest))
		if err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Dir(p)); err != nil {
			return parentError(err, p)
		}
	}
	from := []string{cleanPath(a.Src)}
	if a.AllowWildcard {
		var err error
		if from, err = glob(src, a.Src, a.FollowSymlink); err != nil {
			return err
		}
		if len(from) == 0 && !a.AllowEmptyWildcard {
			return notFound(a.Src)
		}
	}
	if err := required(src, a); err != nil {
		return err
	}
	opt := copyOptions(ctx, src, dest, a, u)
	for _, s := range from {
		if a.AttemptUnpackDockerCompatibility {
			done, err := unpack(ctx, src, s, dest, to, u, a)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if err := copyOne(ctx, src, s, dest, to, a, opt); err != nil {
			return err
		}
	}
	return nil
}

func copyOne(ctx context.Context, src, s, dest, to string, a *pb.FileActionCopy, opt fscopy.Opt) error {
	// Said here, since the copier would name neither the tree nor the path asked for.
	resolve := place
	if a.FollowSymlink || path.Clean(s) == "/" {
		resolve = fs.RootPath
	}
	p, err := resolve(src, path.Clean(s))
	if err != nil {
		return err
	}
	if _, err := os.Lstat(p); errors.Is(err, iofs.ErrNotExist) {
		return notFound(s)
	}
	if done, err := widely(ctx, src, s, dest, to, a, opt); done || err != nil {
		return err
	}
	return fscopy.Copy(ctx, src, s, dest, to, opt)
}

func copyOptions(ctx context.Context, src, dest string, a *pb.FileActionCopy, u *fscopy.User) fscopy.Opt {
	warned := false
	return func(ci *fscopy.CopyInfo) {
		ci.IncludePatterns = a.IncludePatterns
		ci.ExcludePatterns = a.ExcludePatterns
		ci.Chown = chowner(u)
		ci.Utime = timeOf(a.Timestamp)
		if a.ModeStr != "" {
			ci.ModeStr = a.ModeStr
		} else if a.Mode != -1 {
			mode := int(a.Mode)
			ci.Mode = &mode
		}
		ci.CopyDirContents = a.DirCopyContents
		ci.FollowLinks = a.FollowSymlink
		ci.ChangeFunc = store.BlockDevices(dest)
		ci.AlwaysReplaceExistingDestPaths = a.AlwaysReplaceExistingDestPaths
		// A file system without extended attributes is no reason not to copy.
		ci.XAttrErrorHandler = func(to, from, key string, err error) error {
			if !warned {
				warned = true
				text := fmt.Sprintf("extended attribute %s of %s was not copied: %v", key, from, err)
				solver.ProgressFrom(ctx).Warn(client.VertexWarning{Level: 2, Short: []byte(inTree(errors.New(text), src, dest).Error())})
			}
			return nil
		}
	}
}

// required checks the paths that must be among what a copy with patterns copies.
// They begin with the source.
func required(src string, a *pb.FileActionCopy) error {
	if len(a.RequiredPaths) == 0 || len(a.IncludePatterns) == 0 {
		return nil
	}
	from := path.Join("/", a.Src)
	base, err := fs.RootPath(src, from)
	if err != nil {
		return err
	}
	exclude, err := patternmatcher.New(a.ExcludePatterns)
	if err != nil {
		return err
	}
	for _, p := range a.RequiredPaths {
		rel, ok := strings.CutPrefix(path.Join("/", p)+"/", strings.TrimSuffix(from, "/")+"/")
		if !ok {
			return fmt.Errorf("required path %q is not below %q, which is copied", p, a.Src)
		}
		rel = strings.TrimSuffix(rel, "/")
		if there, err := reached(base, rel); err != nil || !there {
			return errors.Join(err, notFound(p))
		}
		excluded, err := exclude.MatchesOrParentMatches(rel)
		if err != nil {
			return err
		}
		if excluded && rel != "" {
			return fmt.Errorf("%q is excluded from the copy that requires it", p)
		}
	}
	return nil
}

// reached says whether a copy of base comes across rel: it does not follow links.
func reached(base, rel string) (bool, error) {
	at := base
	for part := range strings.SplitSeq(rel, "/") {
		fi, err := os.Lstat(at)
		if err == nil && !fi.IsDir() {
			return false, nil
		}
		at = filepath.Join(at, part)
		if _, err := os.Lstat(at); errors.Is(err, iofs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}
