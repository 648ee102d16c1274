package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/solvertest/powercut"
)

var cuts = flag.Int("store.cuts", 10, "TestPowerCut looks at one of so many times at which a machine can lose its power")

// The variables that make the test binary the process whose machine loses its power.
const (
	cutRoot        = "TENON_TEST_POWERCUT_ROOT"
	cutSnapshotter = "TENON_TEST_POWERCUT_SNAPSHOTTER"
	cutRun         = "TENON_TEST_POWERCUT_RUN"
)

// TestPowerCut lets processes use a root one after the other, and looks at what a machine
// that loses its power meanwhile can leave of it: the next process finds nothing damaged,
// and has what was committed. Files in trees, which are not synced, are left as they are.
func TestPowerCut(t *testing.T) {
	if root := os.Getenv(cutRoot); root != "" {
		cutChild(t, root, os.Getenv(cutSnapshotter), os.Getenv(cutRun))
		return
	}
	testenv.Root(t)
	testenv.Tool(t, powercut.Tool)
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) {
			c := newCutCheck(t, name)
			for run := range 2 {
				noError(t, c.record(t, strconv.Itoa(run)).Cuts(func(d *powercut.Disk) error { return c.cut(t, d) }))
				c.before = append(c.before, c.said...)
			}
			t.Logf("%d states of the root", c.checked)
		})
	}
}

// TestPowerCutWhileMending looks at what is left of a damaged root of which a process
// keeps what it can: no more is lost than without a power cut, and what is then built lasts.
func TestPowerCutWhileMending(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, powercut.Tool)
	for _, name := range snapshotters[:1] { // mending is the same for all
		t.Run(name, func(t *testing.T) {
			d := makeDamagedRoot(t, name)
			for _, file := range []string{"metadata.db", filepath.Join(name, "metadata.db"), "none"} {
				c := newCutCheck(t, name)
				c.mending = file
				c.before = d.damage(t, c.root, file)
				noError(t, c.record(t, "again").Cuts(func(d *powercut.Disk) error { return c.cut(t, d) }))
				t.Logf("%s: %d states of the root", file, c.checked)
			}
		})
	}
}

// damage makes a damaged root: of a file one page is lost, and on the disk a tree. It
// returns what of it can be kept, as a process says it.
func (d *damagedRoot) damage(t *testing.T, root, file string) (kept []string) {
	t.Helper()
	ctx := context.Background()
	for page := 2; ; page++ {
		from := d.copy(t)
		path := filepath.Join(from, file)
		if dt, err := os.ReadFile(path); err == nil {
			if (page+1)*4096 > len(dt) {
				t.Fatalf("there is no page of %s without which some trees are kept, and some not", file)
			}
			clear(dt[page*4096 : (page+1)*4096])
			noError(t, os.WriteFile(path, dt, 0o600))
		}
		numbers, err := os.ReadDir(filepath.Join(from, d.snapshotter, "snapshots"))
		noError(t, err)
		noError(t, os.RemoveAll(filepath.Join(from, d.snapshotter, "snapshots", numbers[len(numbers)-1].Name())))
		noError(t, os.MkdirAll(filepath.Dir(root), 0o700))
		noError(t, os.CopyFS(root, os.DirFS(from)))
		said := 0
		s := openStore(t, store.Options{Root: from, Notice: func(string) { said++ }})
		kept = nil
		for id, files := range d.trees {
			ref, err := s.Get(ctx, id)
			if err != nil {
				continue
			}
			for name, text := range files { // any of them
				kept = append(kept, fmt.Sprintf("tree %s %s %s", id, name, strings.ReplaceAll(text, " ", "_")))
				break
			}
			release(t, ref)
		}
		noError(t, s.Close())
		if said > 0 && len(kept) > 0 {
			return kept
		}
		noError(t, os.RemoveAll(root))
	}
}

// cutChild uses a root, and says what lasts.
func cutChild(t *testing.T, root, snapshotter, run string) {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Root: root, Snapshotter: snapshotter, Notice: func(text string) { fmt.Println("notice " + text) }})
	noError(t, err)
	fmt.Println("opened")
	r := newRemote()
	base, err := s.FromLayers(ctx, []ocispec.Descriptor{r.layer(t, ocispec.MediaTypeImageLayerGzip, "base", run)}, r, store.NewOptions{})
	noError(t, err)
	noError(t, base.Extract(ctx))
	fmt.Println("tree", base.ID(), "base", run)
	last := write(t, s, base, store.NewOptions{}, file(t, "file", run))
	fmt.Println("tree", last.ID(), "file", run)
	noError(t, last.SetValue("value", []byte(run)))
	fmt.Println("value", last.ID(), run)
	layers, _, err := last.Layers(ctx, store.LayerOptions{})
	noError(t, err)
	for _, l := range layers {
		fmt.Println("blob", l.Descriptor.Digest)
	}
	_, err = s.Images().Create(ctx, images.Image{Name: "example.com/" + run, Target: layers[1].Descriptor})
	noError(t, err)
	fmt.Println("image", "example.com/"+run)
	res, err := s.Results().Save(store.NewResult(last))
	noError(t, err)
	noError(t, s.CacheKeys().AddResult("key"+run, res))
	release(t, base, last)
	noError(t, s.Close())
	fmt.Println("key", "key"+run, res.ID)
	fmt.Println("closed")
}

// cutCheck checks what is left of a root.
type cutCheck struct {
	root, snapshotter string
	// mending is the file that was damaged when the process began, if any was.
	mending string
	// before is what the processes that have ended have said, said what this one has.
	before, said []string
	rng          *rand.Rand

	dir     string // for what is left
	checked int
}

func newCutCheck(t *testing.T, snapshotter string) *cutCheck {
	t.Helper()
	// What is left is not to be synced again: that takes long.
	dir, err := os.MkdirTemp("/dev/shm", "tenon-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { noError(t, os.RemoveAll(dir)) })
	return &cutCheck{root: filepath.Join(t.TempDir(), "root"), snapshotter: snapshotter, rng: rand.New(rand.NewPCG(1, 7)), dir: dir}
}

// record lets a process use the root.
func (c *cutCheck) record(t *testing.T, run string) *powercut.Log {
	t.Helper()
	exe, err := os.Executable()
	noError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestPowerCut$")
	cmd.Env = append(os.Environ(), cutRoot+"="+c.root, cutSnapshotter+"="+c.snapshotter, cutRun+"="+run)
	c.said = nil
	log, err := powercut.Record(cmd, filepath.Dir(c.root), filepath.Join("root", c.snapshotter, "snapshots"), "root/mounts", "root/state")
	noError(t, err)
	return log
}

// cut checks what can be left at a time: always when something was promised, and else at
// some times.
func (c *cutCheck) cut(t *testing.T, d *powercut.Disk) error {
	promised, some := len(d.Said()) > len(c.said), c.rng.IntN(*cuts) == 0
	c.said = d.Said()
	var keeps []powercut.Keep
	if promised || some {
		keeps = append(keeps, powercut.Nothing)
	}
	if some || len(c.said) == 0 { // while it is opened, much is renamed
		keeps = append(keeps, powercut.Names, powercut.Each(c.rng))
	}
	if some {
		keeps = append(keeps, powercut.Some(c.rng))
	}
	for i, keep := range keeps {
		c.checked++
		left := filepath.Join(c.dir, strconv.Itoa(c.checked))
		if err := d.Leave(left, keep); err != nil {
			return err
		}
		if err := c.leaveTrees(left); err != nil {
			return err
		}
		if err := c.check(t, filepath.Join(left, "root")); err != nil {
			return fmt.Errorf("%v, left %d: %w", d, i, err)
		}
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	return nil
}

// leaveTrees leaves all trees.
func (c *cutCheck) leaveTrees(left string) error {
	to := filepath.Join(left, "root", c.snapshotter)
	if _, err := os.Stat(to); err != nil {
		return nil
	}
	out, err := exec.Command("cp", "-a", filepath.Join(c.root, c.snapshotter, "snapshots"), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// check opens what is left of the root, twice.
func (c *cutCheck) check(t *testing.T, root string) error {
	ctx := context.Background()
	for i := range 2 { // what one process has thrown away the next one would miss
		var notices []error
		s, err := store.Open(ctx, store.Options{
			Root: root, Snapshotter: c.snapshotter, NoWait: true,
			Notice: func(text string) {
				if strings.Contains(text, "as after a power cut") {
					return // of the cache's end, which no Sync had acknowledged
				}
				if c.mending == "" || i > 0 || strings.Contains(text, "is damaged") && !strings.Contains(text, filepath.Join(root, c.mending)) {
					notices = append(notices, errors.New(text))
				}
			},
		})
		if err != nil {
			return err
		}
		for _, line := range append(c.before, c.said...) {
			if err := c.has(ctx, t, s, line); err != nil {
				notices = append(notices, fmt.Errorf("it was said %q: %w", line, err))
			}
		}
		if err := errors.Join(errors.Join(notices...), s.Close()); err != nil {
			return err
		}
	}
	return nil
}

// has looks for what was said to last.
func (c *cutCheck) has(ctx context.Context, t *testing.T, s *store.Store, line string) error {
	words := strings.Fields(line)
	switch words[0] {
	case "tree", "value":
		ref, err := s.Get(ctx, words[1])
		if err != nil {
			return err
		}
		defer release(t, ref)
		if words[0] == "tree" {
			wantFiles(t, ref, map[string]string{words[2]: strings.ReplaceAll(words[3], "_", " ")})
		} else if v, err := ref.Value("value"); err != nil || string(v) != words[2] {
			return fmt.Errorf("value %q, %w", v, err)
		}
	case "blob":
		dgst := digest.Digest(words[1])
		dt, err := content.ReadBlob(ctx, s.Content(), ocispec.Descriptor{Digest: dgst})
		if err != nil {
			return err
		}
		if digest.FromBytes(dt) != dgst {
			return fmt.Errorf("blob has %d other bytes", len(dt))
		}
	case "image":
		_, err := s.Images().Get(ctx, words[1])
		return err
	case "key":
		res, err := s.CacheKeys().Load(words[1], words[2])
		if err == nil && res.ID != words[2] {
			err = fmt.Errorf("it is %v", res)
		}
		return err
	case "notice":
		if c.mending == "" {
			return errors.New("a notice where nothing was damaged")
		}
	}
	return nil
}
