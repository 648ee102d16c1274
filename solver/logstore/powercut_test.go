package logstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tenonbuild/tenon/solver/solvertest"
	"github.com/tenonbuild/tenon/solver/solvertest/powercut"
)

// TestPowerCut lets processes write one after the other, and looks at what a machine that
// loses its power meanwhile can leave of the file: it can be opened, what was acknowledged
// is in it, and what is in it is what the processes had written up to some moment.
func TestPowerCut(t *testing.T) {
	needTool(t, powercut.Tool)
	path, rounds := storePath(t), 6
	if testing.Short() {
		rounds = 2
	}
	c := cutCheck{rng: rand.New(rand.NewPCG(1, 6))}
	for range 2 {
		seed := strconv.Itoa(len(c.done) + 1)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashPath+"="+path, crashSeed+"="+seed, crashRounds+"="+strconv.Itoa(rounds))
		log, err := powercut.Record(cmd, filepath.Dir(path))
		must(t, err)
		c.dir, c.acked = t.TempDir(), 0
		must(t, log.Cuts(c.cut))
		c.done = append(c.done, c.acked)
	}
	t.Logf("%d states of the file", c.checked)
}

// cutCheck checks what is left of a file.
type cutCheck struct {
	// done are the changes of the processes that have ended, whose seeds are 1, 2 and so
	// on, acked those that the one that runs has acknowledged.
	done  []int
	acked int

	rng     *rand.Rand
	dir     string // for what is left
	checked int
}

// cut checks what can be left at a time.
func (c *cutCheck) cut(d *powercut.Disk) (err error) {
	if said := d.Said(); len(said) > 0 {
		if c.acked, err = strconv.Atoi(said[len(said)-1]); err != nil {
			return err
		}
	}
	for i, keep := range []powercut.Keep{powercut.Nothing, powercut.Names, powercut.Everything, powercut.Some(c.rng)} {
		c.checked++
		left := filepath.Join(c.dir, strconv.Itoa(c.checked))
		if err := d.Leave(left, keep); err != nil {
			return err
		}
		if err := c.check(left); err != nil {
			return fmt.Errorf("process %d, %v, left %d: %w", len(c.done)+1, d, i, err)
		}
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	return nil
}

func (c *cutCheck) check(left string) (err error) {
	path := filepath.Join(left, "cache.db")
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	model := solvertest.NewStorageModel()
	for i, n := range c.done {
		err = errors.Join(err, newCrashOps(uint64(i+1)).bring(model, n))
	}
	_, e := crashModel(s, model, uint64(len(c.done)+1), c.acked)
	return errors.Join(err, e, s.Close(), CheckFile(path))
}

// needTool skips a test that needs a program which is not there. On CI it fails.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: make test installs it where it may", err)
	}
}
