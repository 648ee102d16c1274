package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

func TestLock(t *testing.T) {
	testenv.Root(t)
	opt := store.Options{Root: t.TempDir()}
	s := openStore(t, opt)
	_, err := store.Open(context.Background(), store.Options{Root: opt.Root, NoWait: true})
	var locked *store.LockedError
	if !errors.As(err, &locked) || !strings.Contains(locked.Owner, fmt.Sprint(os.Getpid())) || locked.Root != opt.Root {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var owner string
	_, err = store.Open(ctx, store.Options{Root: opt.Root, Waiting: func(o string) { owner = o; cancel() }})
	if !errors.Is(err, context.Canceled) || !errors.As(err, &locked) || owner != locked.Owner {
		t.Fatalf("given up: got %v, waiting for %q", err, owner)
	}
	second, err := store.Open(context.Background(), store.Options{Root: opt.Root, Waiting: func(string) { noError(t, s.Close()) }})
	noError(t, err)
	noError(t, second.Close())
}

func TestForeignRoots(t *testing.T) {
	testenv.Root(t)
	tests := []struct{ name, file, content, want string }{
		{"newer", "version", `{"tenon":1000,"snapshotter":"native"}`, "newer Tenon"},
		{"damaged", "version", `{"tenon":`, "damaged"},
		{"other program", "version", `7`, "not a root"},
		{"not empty", "precious.txt", "data", "precious.txt"},
		{"unknown snapshotter", "version", `{"tenon":1,"snapshotter":"zfs"}`, "zfs"},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			root := t.TempDir()
			name := filepath.Join(root, test.file)
			noError(t, os.WriteFile(name, []byte(test.content), 0o644))
			_, err := store.Open(context.Background(), store.Options{Root: root})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), root) {
				t.Errorf("got error %v, want one with %q and the root", err, test.want)
			}
			if dt, err := os.ReadFile(name); err != nil || string(dt) != test.content {
				t.Errorf("the file was changed: %q (%v)", dt, err)
			}
		})
	}
	noError(t, os.Mkdir(filepath.Join(t.TempDir(), "new"), 0o755))
	root := filepath.Join(t.TempDir(), "a", "b")
	s := openStore(t, store.Options{Root: root, Snapshotter: "native"})
	noError(t, s.Close())
	if _, err := store.Open(context.Background(), store.Options{Root: root, Snapshotter: "overlayfs"}); err == nil || !strings.Contains(err.Error(), "native") {
		t.Errorf("another snapshotter: got %v", err)
	}
	s = openStore(t, store.Options{Root: root})
	if s.Snapshotter() != "native" {
		t.Errorf("got %s", s.Snapshotter())
	}
	noError(t, s.Close())
	if _, err := store.Open(context.Background(), store.Options{Root: filepath.Join(t.TempDir(), "x"), Snapshotter: "btrfs"}); err == nil {
		t.Error("an unknown snapshotter is taken")
	}
	blocked := filepath.Join(t.TempDir(), "file")
	noError(t, os.WriteFile(blocked, nil, 0o644))
	if _, err := store.Open(context.Background(), store.Options{Root: blocked}); err == nil {
		t.Error("a file is a root")
	}
}

func TestPathAndValues(t *testing.T) {
	s := newStore(t, "")
	if dir := filepath.Dir(s.Path("git")); dir != s.Path() {
		t.Errorf("got %s", dir)
	}
	noError(t, os.MkdirAll(s.Path("git", "repo"), 0o755))
	ref := named(t, s, nil, "a", 1)
	if v, err := ref.Value("digest"); v != nil || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	noError(t, ref.SetValue("digest", []byte("abc")))
	if v, err := ref.Value("digest"); string(v) != "abc" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	other := named(t, s, nil, "a", 1)
	if v, err := other.Value("digest"); v != nil || err != nil {
		t.Errorf("another record's: got %q, %v", v, err)
	}
	release(t, ref, other)
	if _, err := ref.Value("digest"); !errors.Is(err, store.ErrReleased) {
		t.Errorf("got %v", err)
	}
	if _, err := s.New(context.Background(), ref, store.NewOptions{}); !errors.Is(err, store.ErrReleased) {
		t.Errorf("got %v", err)
	}
	if err := ref.Clone().Release(context.Background()); !errors.Is(err, store.ErrReleased) {
		t.Errorf("got %v", err)
	}
}

func TestMutableEndsOnce(t *testing.T) {
	ctx := context.Background()
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		m, err := s.New(ctx, nil, store.NewOptions{})
		noError(t, err)
		mounted(t, m, false, file(t, "a", "1"))
		mounted(t, m, true, func(dir string) {
			wantFile(t, dir, "a", "1")
			if err := os.WriteFile(filepath.Join(dir, "b"), nil, 0o644); err == nil {
				t.Error("read-only is not")
			}
		})
		ref, err := m.Commit(ctx)
		noError(t, err)
		if ref.ID() != m.ID() {
			t.Errorf("got %s, want %s", ref.ID(), m.ID())
		}
		noError(t, m.Release(ctx))
		if _, err := m.Commit(ctx); !errors.Is(err, store.ErrReleased) {
			t.Errorf("committed twice: %v", err)
		}
		if _, err := m.Mount(ctx, false); !errors.Is(err, store.ErrReleased) {
			t.Errorf("mounted after the commit: %v", err)
		}
		if _, err := ref.Mount(ctx, false); err == nil {
			t.Error("a tree can be mounted for writing")
		}
		gone, err := s.New(ctx, ref, store.NewOptions{})
		noError(t, err)
		release(t, ref)
		noError(t, gone.Release(ctx))
		noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
		wantNothing(t, s)
		var none *store.Ref
		mounted(t, none, true, func(dir string) {
			if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
				t.Errorf("the empty tree: %v, %v", list, err)
			}
		})
	})
}

// A process that dies while it makes a root leaves one that can be made.
func TestBegunRoot(t *testing.T) {
	testenv.Root(t)
	root := t.TempDir()
	noError(t, os.Mkdir(filepath.Join(root, "state"), 0o755))
	if _, err := store.Open(context.Background(), store.Options{Root: root}); err == nil || !strings.Contains(err.Error(), "state") {
		t.Errorf("somebody's directory: got %v", err)
	}
	noError(t, os.WriteFile(filepath.Join(root, "lock"), nil, 0o600))
	noError(t, openStore(t, store.Options{Root: root}).Close())
}

// Arguments may have passwords in them, and the lock file stays.
func TestLockHasNoArguments(t *testing.T) {
	testenv.Root(t)
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{"/usr/bin/program", "--build-arg", "TOKEN=secret"}
	root := t.TempDir()
	s := openStore(t, store.Options{Root: root})
	_, err := store.Open(context.Background(), store.Options{Root: root, NoWait: true})
	if err == nil || !strings.Contains(err.Error(), `"program"`) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	noError(t, s.Close())
	dt, err := os.ReadFile(filepath.Join(root, "lock"))
	noError(t, err)
	fi, err := os.Stat(filepath.Join(root, "lock"))
	noError(t, err)
	if strings.Contains(string(dt), "secret") || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v: %s", fi.Mode(), dt)
	}
}

// Nobody else can read what is in a root, also if it was made wide open.
func TestRootIsPrivate(t *testing.T) {
	testenv.Root(t)
	for _, name := range snapshotters {
		root := t.TempDir()
		noError(t, os.Chmod(root, 0o755))
		noError(t, os.Mkdir(filepath.Join(root, "lost+found"), 0o700))
		noError(t, openStore(t, store.Options{Root: root, Snapshotter: name}).Close())
		noError(t, os.Chmod(filepath.Join(root, "content"), 0o755)) // as older versions made it
		noError(t, openStore(t, store.Options{Root: root}).Close())
		entries, err := os.ReadDir(root)
		noError(t, err)
		for _, e := range entries {
			fi, err := e.Info()
			noError(t, err)
			if fi.Mode().Perm()&0o077 != 0 && e.Name() != "version" {
				t.Errorf("%s: %s is %v", name, e.Name(), fi.Mode())
			}
		}
	}
	root := filepath.Join(t.TempDir(), "new")
	noError(t, openStore(t, store.Options{Root: root}).Close())
	if fi, err := os.Stat(root); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}
