package store

import (
	"io"

	"github.com/containerd/log"
	_ "github.com/moby/buildkit/util/bklog" // sets log.L, before this package does
	"github.com/sirupsen/logrus"
)

// What containerd's and BuildKit's libraries log is not said on the standard error
// output of the program that the engine is in: what matters comes as an error, or as
// progress. It is this default that is replaced, which only these libraries use; the
// program's own logrus is left alone. A program that wants to see it sets log.L, or
// gives a context a logger (log.WithLogger).
func init() {
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	log.L = logrus.NewEntry(silent)
}
