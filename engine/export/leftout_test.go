package export_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// privileged makes one of each kind of file that gives its users rights.
func privileged(t testing.TB, dir string) {
	in := func(p string) string { return filepath.Join(dir, p) }
	write(t, dir, "bin/su", "#!", "bin/group", "#!", "bin/caps", "#!", "bin/theirs", "#!", "bin/plain", "#!", "shared/file", "x")
	must(t, os.Chmod(in("bin/su"), 0o755|os.ModeSetuid))
	must(t, os.Chmod(in("bin/group"), 0o755|os.ModeSetgid))
	must(t, unix.Setxattr(in("bin/caps"), "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	must(t, os.Chown(in("bin/theirs"), 1000, 1000))
	must(t, os.Chmod(in("bin/theirs"), 0o755|os.ModeSetuid|os.ModeSetgid))
	must(t, os.Link(in("bin/su"), in("bin/su-too")))
	must(t, os.Symlink("bin/su", in("link")))
	must(t, os.Chmod(in("shared"), 0o777|os.ModeSetgid|os.ModeSticky))
	must(t, os.Mkdir(in("dev"), 0o755))
	must(t, unix.Mknod(in("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(in("dev/disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(259, 70000))))
	must(t, os.Chmod(in("dev/null"), 0o666))
	must(t, os.Chmod(in("dev/disk"), 0o666))
	must(t, os.Link(in("dev/disk"), in("also-disk")))
	must(t, unix.Mkfifo(in("fifo"), 0o640))
	l, err := net.Listen("unix", in("socket"))
	must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, l.Close())
}

// A directory gets no file that gives rights to the users of this machine, unless it is
// asked for; what it does not get is said once. Nothing of it is left of an earlier output.
func TestLocalLeavesOutPrivileges(t *testing.T) {
	st := openStore(t)
	deps := export.Deps{Store: st}
	src := single(grow(t, st, nil, "privileged", func(dir string) { privileged(t, dir) }))
	dir := filepath.Join(t.TempDir(), "out")

	warned := warningsOf(t, deps, src, "type=local,privileged-files=true,dest="+dir)
	check.Equal(t, "warnings", strings.Join(warned, "\n"), `1 file was written without setuid and setgid bits, capabilities and access lists, the first is "bin/theirs": `+
		`they belong to another user; archives (type=tar, oci, docker) keep them`)
	for path, mode := range map[string]os.FileMode{
		"bin/su": 0o755 | os.ModeSetuid, "bin/group": 0o755 | os.ModeSetgid, "bin/theirs": 0o755, "shared": 0o777 | os.ModeDir | os.ModeSetgid | os.ModeSticky,
		"dev/null": 0o666 | os.ModeDevice | os.ModeCharDevice, "dev/disk": 0o666 | os.ModeDevice,
	} {
		fi, err := os.Lstat(filepath.Join(dir, path))
		check.OK(t, err)
		check.Equal(t, path, fi.Mode(), mode)
	}
	var disk unix.Stat_t
	check.OK(t, unix.Lstat(filepath.Join(dir, "dev/disk"), &disk))
	check.Equal(t, "the disk's number", disk.Rdev, unix.Mkdev(259, 70000))
	check.Equal(t, "capabilities", hasCapability(filepath.Join(dir, "bin/caps")), true)

	warned = warningsOf(t, deps, src, "type=local,mode=delete,dest="+dir)
	check.Equal(t, "warnings", strings.Join(warned, "\n"), `5 files were written without setuid and setgid bits, capabilities and access lists, the first is "bin/caps"; `+
		`3 devices were left out, the first is "also-disk": privileged-files=true keeps them, and so do archives (type=tar, oci, docker)`)
	var found []string
	check.OK(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		rel, _ := filepath.Rel(dir, p)
		if fi.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeDevice|os.ModeSocket) != 0 || hasCapability(p) {
			t.Errorf("%s is %s", p, fi.Mode())
		}
		found = append(found, rel)
		return err
	}))
	slices.Sort(found)
	check.Equal(t, "files", strings.Join(found, " "), ". bin bin/caps bin/group bin/plain bin/su bin/su-too bin/theirs dev fifo link shared shared/file")

	plain := single(grow(t, st, nil, "plain", func(dir string) { write(t, dir, "file", "x") }))
	check.Equal(t, "warnings", len(warningsOf(t, deps, plain, dir)), 0)
}

func hasCapability(path string) bool {
	_, err := unix.Lgetxattr(path, "security.capability", make([]byte, 100))
	return err == nil
}

// warningsOf exports src and returns what was warned of.
func warningsOf(t *testing.T, deps export.Deps, src *export.Source, o string) (all []string) {
	t.Helper()
	sv := solver.NewSolver(solver.SolverOpt{})
	defer sv.Close()
	job, err := sv.NewJob("test")
	must(t, err)
	ch := make(chan *client.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error { return job.Status(t.Context(), ch) })
	eg.Go(func() error {
		for s := range ch {
			for _, w := range s.Warnings {
				all = append(all, string(w.Short))
			}
		}
		return nil
	})
	ctx, end := job.Begin(job.Context(t.Context()), "exporting")
	out, err := export.ParseOutput(o)
	must(t, err)
	req, err := out.Request(nil)
	must(t, err)
	ex, err := export.New(export.Builtin(deps), req)
	must(t, err)
	_, err = ex.Export(ctx, src, nil)
	must(t, err)
	end(nil)
	must(t, job.Discard())
	must(t, eg.Wait())
	return all
}
