package logstore

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

var kills = flag.Int("logstore.kills", 25, "how many times TestCrash kills its child")

// The variables that make the test binary the child of TestCrash, or of TestPowerCut,
// which ends after a number of rounds.
const (
	crashPath   = "LOGSTORE_CRASH_PATH"
	crashSeed   = "LOGSTORE_CRASH_SEED"
	crashRounds = "LOGSTORE_CRASH_ROUNDS"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		err := crashChild(path, os.Getenv(crashSeed), os.Getenv(crashRounds))
		if err == nil {
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, err)
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
func position(s solver.CacheKeyStorage, seed uint64) (int, error) {
	at, err := s.Load(positionNode, positionNode)
	if err != nil && !errors.Is(err, solver.ErrNotFound) {
		return 0, err
	}
	if err != nil || uint64(at.CreatedAt.Nanosecond()) != seed {
		return 0, nil // it has not come to note anything
	}
	return int(at.CreatedAt.Unix()), nil
}

// crashChild makes changes, and says what it has synced. Without a number of rounds it
// does so until it is killed; otherwise it closes the store, and says what is in it.
func crashChild(path, seedText, roundsText string) error {
	seed, err := strconv.ParseUint(seedText, 10, 64)
	if err != nil {
		return err
	}
	rounds := 0
	if roundsText != "" {
		if rounds, err = strconv.Atoi(roundsText); err != nil {
			return err
		}
	}
	// How batches fall must not be part of the changes themselves.
	rng := rand.New(rand.NewPCG(seed, 4))
	s, err := Open(path, Options{
		FlushEvery: time.Duration(1+rng.IntN(3000)) * time.Microsecond,
		compactAt:  1 << rng.IntN(16),
	})
	if err != nil {
		return err
	}
	ops := newCrashOps(seed)
	for round := 1; ; round++ {
		if err := ops.bring(s, ops.n+1+rng.IntN(50)); err != nil {
			return err
		}
		n := ops.n
		if round == rounds {
			err := s.Close()
			fmt.Println(n)
			return err
		}
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
		model, err = crashModel(s, model, seed+1, acked)
		must(t, err)
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
func crashModel(s *Store, model *solvertest.StorageModel, seed uint64, acked int) (*solvertest.StorageModel, error) {
	at, err := position(s, seed)
	if err != nil {
		return nil, err
	}
	if at < acked {
		return nil, fmt.Errorf("seed %d: %d changes are there, %d were acknowledged", seed, at, acked)
	}
	ops := newCrashOps(seed)
	if err := ops.bring(model, at); err != nil {
		return nil, err
	}
	diff := solvertest.DiffStorage(s, model)
	if diff == nil {
		return model, nil
	}
	// The last batch may have ended between a change and its note.
	op, _ := ops.next()
	if err := op.Apply(model); err != nil {
		return nil, err
	}
	if solvertest.DiffStorage(s, model) != nil {
		return nil, fmt.Errorf("seed %d, after %d changes, %d of them acknowledged: %w", seed, at, acked, diff)
	}
	return model, nil
}

// bring makes a storage hold the first n changes.
func (c *crashOps) bring(s solver.CacheKeyStorage, n int) error {
	for c.n < n {
		op, note := c.next()
		if err := errors.Join(op.Apply(s), note.Apply(s)); err != nil {
			return err
		}
	}
	return nil
}
