// Command tenond is a daemon that builds: BuildKit's clients (buildctl, buildx and what
// stands on them) use it as they use buildkitd. Its flags and its configuration are
// buildkitd's.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tenonbuild/tenon/engine/mountns"
)

func main() {
	// What is in a result must not depend on the umask.
	umask := syscall.Umask(0)
	// It may start the program again, which would lose a signal that was caught before.
	var seen error
	if os.Geteuid() == 0 {
		seen = mountns.Enter(umask)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := command(byName(os.Args[0]), seen)
	if err := cmd.ExecuteContext(ctx); err != nil {
		say("error", err.Error())
		os.Exit(1)
	}
}
