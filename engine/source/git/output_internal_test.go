package git

import (
	"bytes"
	"io"
	"os/exec"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
)

// Of what git says a bounded part is kept, however long it goes on.
func TestOutputIsBounded(t *testing.T) {
	run := func(script string, out io.Writer) (said, kept bytes.Buffer, err error) {
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Stdout, cmd.Stderr = out, &kept
		err = shell(t.Context(), "true", cmd, nil, &said)
		return said, kept, err
	}
	said, kept, err := run("head -c 3000000 /dev/zero >&2", nil)
	check.OK(t, err)
	check.Equal(t, "bytes of errors", said.Len(), maxErrors)
	check.Equal(t, "bytes of errors", kept.Len(), maxErrors)
	_, _, err = run("exec cat /dev/zero", io.Discard)
	check.Says(t, err, "git prints more than 256 MiB")
}
