package git

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
)

// CheckParsed parses an operation, and checks that nothing in it could be an option
// or another refspec.
func CheckParsed(t *testing.T, op *pb.SourceOp) {
	sp, err := parse(op)
	if err != nil {
		return
	}
	for _, s := range []string{sp.remote, sp.ref, sp.host, sp.checksum} {
		if strings.HasPrefix(s, "-") || strings.ContainsAny(s, "\x00\n") {
			t.Errorf("%q is taken from %v", s, op)
		}
	}
	if strings.ContainsAny(sp.ref, ":*?[^~ ") {
		t.Errorf("ref %q is taken from %v", sp.ref, op)
	}
	for _, part := range strings.Split(sp.subdir, "/") {
		if part == ".." || sp.subdir != "" && part == "" {
			t.Errorf("directory %q is taken from %v", sp.subdir, op)
		}
	}
}

// Shown is what people see of an operation.
func Shown(t *testing.T, op *pb.SourceOp) string {
	sp, err := parse(op)
	if err != nil {
		t.Fatal(err)
	}
	return sp.shown()
}

// CheckListed reads what a remote may say, and checks what is made of it.
func CheckListed(t *testing.T, out, ref string) {
	for _, r := range []resolved{pick(out, ref), parseHead(out)} {
		if r.object != "" && (len(r.object) < 40 || len(r.commit) < 40 || strings.HasPrefix(r.ref, "-")) {
			t.Errorf("%+v", r)
		}
	}
}
