package usernet

import (
	"os"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// Namespaces are made on threads that end, and not on the main one, which stays, and
// which /proc/self shows of the process.
func TestProcessStaysInItsNamespace(t *testing.T) {
	testenv.Root(t)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var g errgroup.Group
		for range 10 {
			g.Go(func() error {
				ns, err := makeNamespace(func() error { return nil })
				if err != nil {
					return err
				}
				return ns.Close()
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		after, err := os.Readlink("/proc/self/ns/net")
		if err != nil || after != before {
			t.Fatalf("the process was in %s and is in %s, %v", before, after, err)
		}
	}
}
