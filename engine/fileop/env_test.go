package fileop_test

import (
	"context"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/fileop"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// world is a store, and what a test makes in it.
type world struct {
	t     testing.TB
	ctx   context.Context
	store *store.Store
	refs  []*store.Ref
}

// newWorld opens a store. When the test ends, everything the test holds is released;
// whatever is still held then was leaked.
func newWorld(t testing.TB) *world {
	t.Helper()
	testenv.Root(t)
	w := &world{t: t, ctx: context.Background()}
	var err error
	if w.store, err = store.Open(w.ctx, store.Options{Root: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range w.refs {
			if err := r.Release(w.ctx); err != nil {
				t.Error(err)
			}
		}
		w.noneHeld()
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) noneHeld() {
	w.t.Helper()
	all, err := w.store.Du(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range all {
		if u.InUse {
			w.t.Errorf("%s (%s) is still held", u.ID, u.Description)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, w.store.Path()) {
			w.t.Errorf("still mounted: %s", line)
		}
	}
}

// tree makes a tree in which fill writes.
func (w *world) tree(fill func(dir string)) *store.Ref {
	w.t.Helper()
	m, err := w.store.New(w.ctx, nil, store.NewOptions{Description: "input"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mounted(m, false, fill)
	ref, err := m.Commit(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	w.refs = append(w.refs, ref)
	return ref
}

func (w *world) mounted(m executor.Mountable, readonly bool, do func(dir string)) {
	w.t.Helper()
	mr, err := m.Mount(w.ctx, readonly)
	if err != nil {
		w.t.Fatal(err)
	}
	lm := snapshot.LocalMounter(mr)
	dir, err := lm.Mount()
	if err != nil {
		w.t.Fatal(err)
	}
	do(dir)
	if err := lm.Unmount(); err != nil {
		w.t.Fatal(err)
	}
}

// files is what fills a tree: paths with what they hold. A path that ends with a slash
// is a directory, content that begins with "-> " a link. Each may be preceded by mode
// and owner, as in "0600 1:2 content".
func (w *world) files(files ...string) func(dir string) {
	return func(dir string) {
		w.t.Helper()
		for i := 0; i < len(files); i += 2 {
			w.put(dir, files[i], files[i+1])
		}
	}
}

func (w *world) put(dir, name, what string) {
	w.t.Helper()
	p := filepath.Join(dir, name)
	mode, uid, gid := os.FileMode(0), 0, 0
	if n, _ := fmt.Sscanf(what, "%o %d:%d", &mode, &uid, &gid); n == 3 {
		_, what, _ = strings.Cut(what, ":")
		_, what, _ = strings.Cut(what, " ")
	} else {
		mode, uid, gid = 0, 0, 0
	}
	check := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Dir(p), 0o755))
	target, link := strings.CutPrefix(what, "-> ")
	switch {
	case link:
		check(os.Symlink(target, p))
		check(os.Lchown(p, uid, gid))
		return
	case strings.HasSuffix(name, "/"):
		check(os.MkdirAll(p, 0o755))
	default:
		check(os.WriteFile(p, []byte(what), 0o644))
	}
	check(os.Lchown(p, uid, gid))
	if mode != 0 {
		check(os.Chmod(p, iofs.FileMode(mode.Perm())))
	}
}

// vertex has as many inputs as it says: they are vertices without inputs.
type vertex int

func (v vertex) Digest() digest.Digest         { return digest.FromString(fmt.Sprint(int(v))) }
func (v vertex) Sys() interface{}              { return nil }
func (v vertex) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (v vertex) Inputs() []solver.Edge {
	return slices.Repeat([]solver.Edge{{Vertex: vertex(0)}}, int(v))
}
func (v vertex) Name() string { return "the test's file op" }

func (w *world) op(actions []*pb.FileAction, inputs int) solver.Op {
	w.t.Helper()
	op, err := fileop.New(&pb.FileOp{Actions: actions}, vertex(inputs), fileop.Deps{Store: w.store})
	if err != nil {
		w.t.Fatal(err)
	}
	return op
}

// run runs actions and returns the trees that come out, which the world releases.
func (w *world) run(ctx context.Context, actions []*pb.FileAction, inputs ...*store.Ref) ([]*store.Ref, error) {
	w.t.Helper()
	ins := make([]solver.Result, len(inputs))
	for i, ref := range inputs {
		ins[i] = store.NewResult(ref) // borrowed: never released
	}
	outs, err := w.op(actions, len(inputs)).Exec(ctx, ins)
	var refs []*store.Ref
	for _, out := range outs {
		ref, err := store.RefOf(out)
		if err != nil {
			w.t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	w.refs = append(w.refs, refs...)
	return refs, err
}

// list says what is in a tree: type, mode, owner, path and content, a line each.
func (w *world) list(ref *store.Ref) string {
	w.t.Helper()
	var b strings.Builder
	w.mounted(ref, true, func(root string) {
		err := filepath.WalkDir(root, func(p string, d iofs.DirEntry, err error) error {
			if err != nil || p == root {
				return err
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			st := fi.Sys().(*syscall.Stat_t)
			what := ""
			switch {
			case fi.Mode().IsRegular():
				dt, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				what = " " + string(dt)
			case fi.Mode()&os.ModeSymlink != 0:
				target, err := os.Readlink(p)
				if err != nil {
					return err
				}
				what = " -> " + target
			}
			rel, err := filepath.Rel(root, p)
			fmt.Fprintf(&b, "%s %d:%d %s%s\n", fi.Mode(), st.Uid, st.Gid, rel, what)
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	})
	return strings.TrimSpace(b.String())
}

// Short forms of actions. They go on in the result of the one before.

func mkdir(m *pb.FileActionMkDir) *pb.FileAction {
	if m.Timestamp == 0 {
		m.Timestamp = -1
	}
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: m}}
}

func mkfile(path, data string, mode int32) *pb.FileAction {
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Mkfile{
		Mkfile: &pb.FileActionMkFile{Path: path, Data: []byte(data), Mode: mode, Timestamp: -1},
	}}
}

func symlink(from, to string) *pb.FileAction {
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Symlink{
		Symlink: &pb.FileActionSymlink{Newpath: from, Oldpath: to, Timestamp: -1},
	}}
}

func rm(r *pb.FileActionRm) *pb.FileAction {
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Rm{Rm: r}}
}

// cp copies from input 1, with the options that a COPY of a Dockerfile has.
func cp(src, dest string, change ...func(*pb.FileActionCopy)) *pb.FileAction {
	c := &pb.FileActionCopy{
		Src: src, Dest: dest, Mode: -1, Timestamp: -1, FollowSymlink: true, DirCopyContents: true,
		CreateDestPath: true, AllowWildcard: true,
	}
	for _, f := range change {
		f(c)
	}
	return &pb.FileAction{SecondaryInput: 1, Action: &pb.FileAction_Copy{Copy: c}}
}

// chain makes each action go on in the one before; the last is the output.
func chain(inputs int, actions ...*pb.FileAction) []*pb.FileAction {
	for i, a := range actions {
		a.Output = -1
		if i == 0 {
			a.Input = 0
		} else {
			a.Input = int64(inputs + i - 1)
		}
	}
	actions[len(actions)-1].Output = 0
	return actions
}

func byID(id uint32) *pb.UserOpt {
	return &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: id}}
}

func byName(name string, input int64) *pb.UserOpt {
	return &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: name, Input: input}}}
}

func timeOf(sec int64) time.Time { return time.Unix(sec, 0) }
