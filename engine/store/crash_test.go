package store_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

var kills = flag.Int("store.kills", 12, "how often TestKill kills a process")

// crashRoot, if set, makes the test binary the process that is killed.
const crashRoot = "TENON_TEST_CRASH_ROOT"

// TestKill kills a process that uses a root, again and again. What it said was
// committed must be there, nothing half-made may be, and in the end all goes.
func TestKill(t *testing.T) {
	if root := os.Getenv(crashRoot); root != "" {
		t.Fatal(crashChild(root))
	}
	testenv.Root(t)
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			noError(t, openStore(t, store.Options{Root: root, Snapshotter: name}).Close())
			rnd := rand.New(rand.NewSource(1))
			committed := map[string]string{}
			seen := 0
			for range (*kills + 1) / len(snapshotters) {
				seen += killOne(t, root, rnd.Intn(12), committed)
				checkAfterKill(t, root, committed)
			}
			if seen == 0 {
				t.Error("nothing was ever committed")
			}
			s := openStore(t, store.Options{Root: root})
			noError(t, s.Prune(context.Background(), store.PruneOptions{All: true}, nil))
			wantNothing(t, s)
			noError(t, s.Close())
			left, err := os.ReadDir(filepath.Join(root, name, "snapshots"))
			noError(t, err)
			mountinfo, err := os.ReadFile("/proc/self/mountinfo")
			noError(t, err)
			if strings.Contains(string(mountinfo), root) {
				t.Errorf("mounts are left:\n%s", mountinfo)
			}
			mounts, err := os.ReadDir(filepath.Join(root, "mounts"))
			noError(t, err)
			if len(left) != 0 || len(mounts) != 0 {
				t.Errorf("%v: %d snapshots are left on the disk", mounts, len(left))
			}
		})
	}
}

// killOne runs a child until it has said so many lines, and kills it then. It
// returns how many trees were committed.
func killOne(t *testing.T, root string, lines int, committed map[string]string) (seen int) {
	t.Helper()
	exe, err := os.Executable()
	noError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), crashRoot+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	deadline := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer deadline.Stop()
	sc := bufio.NewScanner(out)
	for n := 0; sc.Scan(); n++ {
		if n == lines {
			noError(t, cmd.Process.Kill())
		}
		id, text, ok := strings.Cut(sc.Text(), " ")
		switch {
		case !ok || strings.HasPrefix(id, "---"):
			t.Errorf("the child says %q", sc.Text())
		case id == "cached":
		case id == "pruned":
			delete(committed, text)
		default:
			seen++
			committed[id] = text
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return seen
}

func checkAfterKill(t *testing.T, root string, committed map[string]string) {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Root: root, NoWait: true})
	noError(t, err)
	defer func() { noError(t, s.Close()) }()
	for id, text := range committed {
		ref, err := s.Get(context.Background(), id)
		if err != nil {
			t.Errorf("%s was committed: %v", id, err)
			continue
		}
		mounted(t, ref, true, func(dir string) { wantFile(t, dir, "file", text) })
		release(t, ref)
	}
	for id, u := range usageOf(t, s) {
		if u.InUse {
			t.Errorf("%s is in use", id)
		}
	}
}

// crashChild does all that a store can do, until it is killed. It tells what it has
// committed, and what it is about to prune.
func crashChild(root string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Root: root})
	if err != nil {
		return err
	}
	r := newRemote()
	layer := r.layer(&testing.T{}, ocispec.MediaTypeImageLayerGzip, "base", strconv.Itoa(os.Getpid()))
	for i := 0; ; i++ {
		if err := crashStep(ctx, s, []ocispec.Descriptor{layer}, r, fmt.Sprintf("%d.%d", os.Getpid(), i)); err != nil {
			return err
		}
		if i%3 == 2 {
			if err := crashPrune(ctx, s); err != nil {
				return err
			}
		}
	}
}

// crashPrune says what goes before it does.
func crashPrune(ctx context.Context, s *store.Store) error {
	opt := store.PruneOptions{All: true}
	opt.DryRun = true
	if err := s.Prune(ctx, opt, func(u store.UsageInfo) { fmt.Println("pruned", u.ID) }); err != nil {
		return err
	}
	opt.DryRun = false
	return s.Prune(ctx, opt, nil)
}

func crashStep(ctx context.Context, s *store.Store, base []ocispec.Descriptor, r *remote, text string) error {
	below, err := s.FromLayers(ctx, base, r, store.NewOptions{})
	if err != nil {
		return err
	}
	m, err := s.New(ctx, below, store.NewOptions{})
	if err != nil {
		return err
	}
	mountable, err := m.Mount(ctx, false)
	if err != nil {
		return err
	}
	mounts, done, err := mountable.Mount()
	if err != nil {
		return err
	}
	err = mount.WithTempMount(ctx, mounts, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644)
	})
	if err := errors.Join(err, done()); err != nil {
		return err
	}
	ref, err := m.Commit(ctx)
	if err != nil {
		return err
	}
	fmt.Println(ref.ID(), text)
	_, _, err = ref.Layers(ctx, store.LayerOptions{})
	res, e := s.Results().Save(store.NewResult(ref))
	err = errors.Join(err, e, s.CacheKeys().AddResult("key"+text, res), ref.SetValue("k", []byte(text)))
	both, e := s.Merge(ctx, []*store.Ref{ref, below}, store.NewOptions{})
	if e == nil {
		e = errors.Join(both.Extract(ctx), both.Release(ctx))
	}
	return errors.Join(err, e, crashCache(ctx, s, below, text), ref.Release(ctx), below.Release(ctx))
}

// crashCache uses a cache mount.
func crashCache(ctx context.Context, s *store.Store, base *store.Ref, text string) error {
	c, err := s.CacheMount(ctx, "cache", base, store.SharingShared)
	if err != nil {
		return err
	}
	mountable, err := c.Mount(ctx, false)
	if err != nil {
		return err
	}
	mounts, done, err := mountable.Mount()
	if err != nil {
		return err
	}
	err = mount.WithTempMount(ctx, mounts, func(dir string) error {
		fmt.Println("cached", text)
		return os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644)
	})
	return errors.Join(err, done(), c.Release(ctx))
}
