package execop_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/internal/check"
)

// verifying has a machine's ops run twice, for two builds.
func verifying(m *machine) (first, second *verify.Steps) {
	first, second = &verify.Steps{}, &verify.Steps{}
	m.deps.Verify = func(context.Context) []*verify.Steps { return []*verify.Steps{first, second} }
	return first, second
}

// Each output is compared, however the cache mounts are shared; what is no output is not.
func TestAgain(t *testing.T) {
	m := newMachine(t)
	one, other := verifying(m)
	rw := func(dest string, output int64) func(*pb.ExecOp) {
		return with(&pb.Mount{MountType: pb.MountType_BIND, Input: 0, Output: output, Dest: dest})
	}
	op := sh("echo x >> /l/f; echo x >> /p/f; echo $(wc -l < /l/f) $(wc -l < /p/f) > /n; cp /n /out/n; cp /n /none/n; touch /same",
		rw("/out", 1), rw("/none", -1), cacheMount("l", "/l", pb.CacheSharingOpt_LOCKED), cacheMount("p", "/p", pb.CacheSharingOpt_PRIVATE))
	refs, err := m.exec(op, m.base)
	check.OK(t, err)
	check.Equal(t, "the first run's", m.read(refs[0], "n")+m.read(refs[1], "n"), "1 1\n1 1\n")
	for _, s := range []*verify.Steps{one, other} {
		all := s.All()
		if len(all) != 1 || all[0].Same() || len(all[0].Trees) != 2 {
			t.Fatalf("%v", all)
		}
		check.Equal(t, "words", strings.Join(all[0].Lines(), "\n"), `modified  n (4 bytes)
          from byte 0 (line 1), 2 bytes differ
          - 1 1
          + 2 2
in /out:
modified  n (4 bytes)
          from byte 0 (line 1), 2 bytes differ
          - 1 1
          + 2 2`)
	}
	// The caches are free again.
	_, err = m.exec(op, m.base)
	check.OK(t, err)
}

// A second run that fails fails no step; one that is cancelled does.
func TestAgainFails(t *testing.T) {
	m := newMachine(t)
	steps, _ := verifying(m)
	runs := 0
	ctx, cancel := context.WithCancelCause(m.ctx)
	gone := errors.New("nobody wants it any more")
	m.deps.Executor = executorFunc(func(context.Context, executor.Mount, []executor.Mount, executor.ProcessInfo) error {
		switch runs++; runs {
		case 2:
			return errors.New("no memory")
		case 4:
			cancel(gone)
			return context.Canceled
		}
		return nil
	})
	_, err := m.execContext(ctx, sh("true"), m.base)
	check.OK(t, err)
	check.Says(t, errors.New(strings.Join(steps.All()[0].Lines(), "\n")), "its second run failed", "no memory")
	if _, err := m.execContext(ctx, sh("true"), m.base); !errors.Is(err, gone) {
		t.Error(err)
	}
	check.Equal(t, "runs", runs, 4)
}
