package engine_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// What libraries log does not come out at the program's own logger.
func TestLibrariesAreSilent(t *testing.T) {
	testenv.Root(t)
	var said bytes.Buffer
	logrus.SetOutput(&said)
	defer logrus.SetOutput(os.Stderr)
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir()})
	check.OK(t, err)
	log.G(t.Context()).Warn("of a library")
	check.OK(t, e.Close())
	if said.Len() > 0 {
		t.Errorf("%s", &said)
	}
	logrus.Warn("of the program")
	if said.Len() == 0 {
		t.Error("the program's logger is silent")
	}
}
