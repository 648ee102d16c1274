// Command confine runs one probing step by the command tenon and by BuildKit's daemon,
// with the same runc, and lists what the step may do and see in one and not in the
// other. It fails if a difference is there that nobody has explained. It runs as root,
// on Linux, with runc and a static busybox.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/tenonbuild/tenon/bench/build"
	"github.com/tenonbuild/tenon/bench/confine"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	all := flag.Bool("all", false, "print every fact, not only what differs")
	flag.Parse()
	logrus.SetLevel(logrus.ErrorLevel) // what containerd says to whoever embeds it
	if err := run(ctx, *all); err != nil {
		fmt.Fprintln(os.Stderr, "confine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, all bool) (err error) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("steps are compared on Linux, as root: they are containers")
	}
	dir, err := os.MkdirTemp("", "tenon-confine-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	busybox, err := build.Shell(ctx, dir)
	if err != nil {
		return err
	}
	src := filepath.Join(dir, "context")
	if err := os.Mkdir(src, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"Dockerfile": confine.Dockerfile, "probe.sh": confine.Probe} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	ours, err := build.StartOurs(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Close()) }()
	peer, err := build.StartPeer(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.Close()) }()
	var facts [2]confine.Facts
	for i, b := range []build.Builder{ours, peer} {
		out := build.Output{Type: "local", Path: filepath.Join(dir, "out-"+b.Name())}
		if facts[i], err = probe(ctx, b, build.Request{Dir: src, Busybox: busybox, Output: out}); err != nil {
			return fmt.Errorf("%s: %w", b.Name(), err)
		}
	}
	return report(facts[0], facts[1], all)
}

// probe runs the step by a builder's command, as users do.
func probe(ctx context.Context, b build.Builder, req build.Request) (_ confine.Facts, err error) {
	resume, err := b.Idle(ctx)
	if err != nil {
		return nil, err
	}
	args := b.Command(req)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err := errors.Join(err, resume(ctx)); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	dt, err := os.ReadFile(filepath.Join(req.Output.Path, "facts"))
	if err != nil {
		return nil, err
	}
	return confine.Parse(bytes.NewReader(dt))
}

func report(ours, peer confine.Facts, all bool) error {
	if all {
		for _, line := range ours.Lines() {
			fmt.Println(line)
		}
	}
	unexplained := 0
	differences := confine.Compare(ours, peer)
	for _, d := range differences {
		why := d.Why
		if why == "" {
			why = "NOBODY HAS EXPLAINED THIS"
			unexplained++
		}
		fmt.Printf("%s\n  ours: %s\n  peer: %s\n  why:  %s\n", d.Fact, d.Ours, d.Peer, why)
	}
	fmt.Printf("%d facts, %d differ, %d of them unexplained\n", len(ours), len(differences), unexplained)
	if unexplained > 0 {
		return fmt.Errorf("%d differences are to be removed, or explained in confine/known.go", unexplained)
	}
	return nil
}
