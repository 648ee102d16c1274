package logstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/logstore"
)

// What was written is there when the file is opened again. One at a time may open it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "logstore-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys.db")

	store, err := logstore.Open(path, logstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.AddResult("key", solver.CacheResult{ID: "result", CreatedAt: time.Now()}); err != nil {
		log.Fatal(err)
	}
	if err := store.Sync(context.Background()); err != nil { // it is on the disk
		log.Fatal(err)
	}
	_, err = logstore.Open(path, logstore.Options{})
	fmt.Println("in use:", errors.Is(err, logstore.ErrInUse))
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}

	store, err = logstore.Open(path, logstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.Damage(); err != nil {
		fmt.Println("some of it was lost:", err)
	}
	res, err := store.Load("key", "result")
	fmt.Println(res.ID, err)

	// Output:
	// in use: true
	// result <nil>
}
