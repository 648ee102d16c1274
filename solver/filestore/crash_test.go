package filestore_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/filestore"
	"github.com/tenonbuild/tenon/solver/solvertest"
	"github.com/tenonbuild/tenon/solver/solvertest/powercut"
)

var kills = flag.Int("filestore.kills", 25, "how many times TestCrash kills its child")

// The variables that make the test binary the child of TestCrash, or of TestPowerCut, which
// ends after a number of saves.
const (
	crashDir   = "FILESTORE_CRASH_DIR"
	crashSaves = "FILESTORE_CRASH_SAVES"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		saves, err := strconv.Atoi(os.Getenv(crashSaves))
		if err == nil {
			err = crashChild(dir, saves)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashChild saves results, some of them again and again, and prints what each is called,
// with the number that makes its value.
func crashChild(dir string, saves int) error {
	s, err := filestore.NewResultStorage(dir, encode, decode)
	if err != nil {
		return err
	}
	for i := 0; saves == 0 || i < saves; i++ {
		n := i
		if i%3 == 2 {
			n = i / 2
		}
		res, err := s.Save(solvertest.NewResult(crashValue(n), nil))
		if err != nil {
			return err
		}
		fmt.Println(res.ID, n)
	}
	return nil
}

// crashValue has a few sectors.
func crashValue(n int) string { return strings.Repeat(fmt.Sprint("value ", n, ","), 1+n%7*40) }

func child(dir string, saves int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashSaves+"="+strconv.Itoa(saves))
	return cmd
}

// check checks a directory: what was acknowledged is there, and beside it only results, and
// files that were not finished.
func check(dir string, acked []string) error {
	s, err := filestore.NewResultStorage(dir, encode, decode)
	if err != nil {
		return err
	}
	for _, line := range acked {
		id, text, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		r, err := s.Load(context.Background(), solver.CacheResult{ID: id})
		if err != nil || solvertest.Value(r) != crashValue(n) {
			return fmt.Errorf("result %d, %s: %v", n, id, err)
		}
	}
	return nil
}

// TestCrash kills a process that saves, many times, at any instant: what it acknowledged
// is there, every file that has a result's name is whole, and what was not finished is
// removed.
func TestCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	rng := rand.New(rand.NewPCG(1, uint64(*kills)))
	var acked []string
	for range *kills {
		cmd := child(dir, 0)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		last := rng.IntN(20)
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			acked = append(acked, lines.Text())
			if i == last {
				must(t, cmd.Process.Kill())
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("the child ended by itself: %v", err)
		}
		must(t, check(dir, acked))
		s := open(t, dir)
		for _, name := range names(t, dir) {
			if strings.HasPrefix(name, "new-") {
				must(t, os.Chtimes(filepath.Join(dir, name), time.Time{}, time.Now().Add(-2*time.Hour)))
			} else if _, err := s.Load(context.Background(), solver.CacheResult{ID: name}); err != nil {
				t.Fatalf("%s is no result: %v", name, err)
			}
		}
		open(t, dir)
		if left := names(t, dir); slices.ContainsFunc(left, func(name string) bool { return strings.HasPrefix(name, "new-") }) {
			t.Fatalf("%q are left", left)
		}
	}
}

// TestPowerCut looks at what a machine that loses its power can leave of a directory: what
// was acknowledged is there.
func TestPowerCut(t *testing.T) {
	if _, err := exec.LookPath(powercut.Tool); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: make test installs it where it may", err)
	}
	above, left, checked := t.TempDir(), t.TempDir(), 0
	rng := rand.New(rand.NewPCG(1, 6))
	log, err := powercut.Record(child(filepath.Join(above, "results"), 12), above)
	must(t, err)
	must(t, log.Cuts(func(d *powercut.Disk) error {
		for _, keep := range []powercut.Keep{powercut.Nothing, powercut.Names, powercut.Everything, powercut.Some(rng)} {
			checked++
			dir := filepath.Join(left, strconv.Itoa(checked))
			if err := d.Leave(dir, keep); err != nil {
				return err
			}
			if err := check(filepath.Join(dir, "results"), d.Said()); err != nil {
				return fmt.Errorf("%v, left %d: %w", d, checked, err)
			}
		}
		return nil
	}))
	t.Logf("%d states of the directory", checked)
}
