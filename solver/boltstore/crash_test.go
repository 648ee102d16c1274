package boltstore

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

var kills = flag.Int("boltstore.kills", 25, "how many times TestCrash kills its child")

// The variables that make the test binary the child of TestCrash.
const (
	crashPath = "BOLTSTORE_CRASH_PATH"
	crashSeed = "BOLTSTORE_CRASH_SEED"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		fmt.Fprintln(os.Stderr, crashChild(path, os.Getenv(crashSeed)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashOps are the changes that a child makes, for ever. After each it notes how
// many there were, in the store itself.
type crashOps struct {
	rng  *rand.Rand
	seed uint64
	n    int
}

func newCrashOps(seed uint64) *crashOps {
	return &crashOps{rng: rand.New(rand.NewPCG(seed, 3)), seed: seed}
}

func (c *crashOps) next() (op, note solvertest.StorageOp) {
	op = solvertest.RandomStorageOp(c.rng, 70)
	c.n++
	return op, positionOp(c.seed, c.n)
}

const positionNode = "position"

func positionOp(seed uint64, n int) solvertest.StorageOp {
	return solvertest.StorageOp{
		Kind: "AddResult", ID: positionNode,
		Result: solver.CacheResult{ID: positionNode, CreatedAt: time.Unix(int64(n), int64(seed))},
	}
}

// position returns how many changes of the child of a seed a store holds.
func position(t *testing.T, s solver.CacheKeyStorage, seed uint64) int {
	t.Helper()
	at, err := s.Load(positionNode, positionNode)
	if errors.Is(err, solver.ErrNotFound) {
		return 0
	}
	must(t, err)
	if uint64(at.CreatedAt.Nanosecond()) != seed {
		return 0 // it has not come to note anything
	}
	return int(at.CreatedAt.Unix())
}

// crashChild makes changes until it is killed, and says what it has synced.
func crashChild(path, seedText string) error {
	seed, err := strconv.ParseUint(seedText, 10, 64)
	if err != nil {
		return err
	}
	// How batches fall must not be part of the changes themselves.
	rng := rand.New(rand.NewPCG(seed, 4))
	s, err := Open(path, Options{
		FlushEvery: time.Duration(1+rng.IntN(3000)) * time.Microsecond,
		FlushSize:  1 << rng.IntN(9),
	})
	if err != nil {
		return err
	}
	ops := newCrashOps(seed)
	for {
		for range 1 + rng.IntN(50) {
			op, note := ops.next()
			if err := errors.Join(op.Apply(s), note.Apply(s)); err != nil {
				return err
			}
		}
		n := ops.n
		if err := s.Sync(context.Background()); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestCrash kills a process that writes, many times, at any instant: the file is
// sound, what was acknowledged is in it, and what is in it is what the process
// had written up to some moment.
func TestCrash(t *testing.T) {
	path, model := storePath(t), solvertest.NewStorageModel()
	rng := rand.New(rand.NewPCG(uint64(*kills), 5))
	for seed := range uint64(*kills) {
		acked := runAndKill(t, path, seed+1, 1+rng.IntN(20))
		must(t, CheckFile(path))
		s, err := Open(path, Options{})
		must(t, err)
		model = crashModel(t, s, model, seed+1, acked)
		must(t, s.Close())
	}
}

// runAndKill runs a child until it has acknowledged something a number of times,
// kills it, and returns what it acknowledged last.
func runAndKill(t *testing.T, path string, seed uint64, acks int) (acked int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashPath+"="+path, crashSeed+"="+strconv.FormatUint(seed, 10))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			break // the last line may be cut
		}
		acked = n
		if i == 0 {
			if s, err := Open(path, Options{}); !errors.Is(err, ErrInUse) {
				t.Fatalf("opened while another process writes: %v, %v", s, err)
			}
		}
		if i == acks {
			must(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() >= 0 {
		t.Fatalf("seed %d: the child ended by itself: %v", seed, err)
	}
	return acked
}

// crashModel brings the model to where the store is, compares, and returns it.
func crashModel(t *testing.T, s *Store, model *solvertest.StorageModel, seed uint64, acked int) *solvertest.StorageModel {
	t.Helper()
	at := position(t, s, seed)
	if at < acked {
		t.Fatalf("seed %d: %d changes are there, %d were acknowledged", seed, at, acked)
	}
	ops := newCrashOps(seed)
	for ops.n < at {
		op, note := ops.next()
		must(t, op.Apply(model))
		must(t, note.Apply(model))
	}
	err := solvertest.DiffStorage(s, model)
	if err == nil {
		return model
	}
	// The last batch may have ended between a change and its note.
	op, _ := ops.next()
	must(t, op.Apply(model))
	if solvertest.DiffStorage(s, model) != nil {
		t.Fatalf("seed %d, after %d changes, %d of them acknowledged: %v", seed, at, acked, err)
	}
	return model
}
