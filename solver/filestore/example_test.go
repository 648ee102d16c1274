package filestore_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/filestore"
)

// text is a solver.Result.
type text string

func (t text) ID() string                    { return digest.FromString(string(t)).Encoded() }
func (t text) Sys() interface{}              { return string(t) }
func (t text) Release(context.Context) error { return nil }

// Results that are texts, in the files of a folder.
func ExampleNewResultStorage() {
	dir, err := os.MkdirTemp("", "filestore-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	open := func() *filestore.ResultStorage {
		s, err := filestore.NewResultStorage(dir,
			func(r solver.Result) ([]byte, error) { return []byte(r.Sys().(string)), nil },
			func(data []byte) (solver.Result, error) { return text(data), nil })
		if err != nil {
			log.Fatal(err)
		}
		return s
	}
	saved, err := open().Save(text("hello"))
	if err != nil {
		log.Fatal(err)
	}
	r, err := open().Load(context.Background(), saved) // as another process would
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Sys())

	// Output:
	// hello
}
