package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session/local"
)

// A Dockerfile is built, and what is built is written into a directory. The
// attributes of the frontend are listed in docs/library.md.
func ExampleEngine_Build_dockerfile() {
	dir, err := os.MkdirTemp("", "tenon-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	source, out := filepath.Join(dir, "context"), filepath.Join(dir, "out")
	if err := os.Mkdir(source, 0o755); err != nil {
		panic(err)
	}
	for name, text := range map[string]string{
		"Dockerfile": "FROM scratch AS hello\nARG FILE\nCOPY ${FILE} /\nFROM scratch AS other\n",
		"greeting":   "Hello, Dockerfile!\n",
	} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			panic(err)
		}
	}

	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Options{Root: filepath.Join(dir, "root")})
	if err != nil {
		panic(err)
	}
	defer e.Close()
	// What the build may read and write. The Dockerfile frontend reads the directories
	// "context" and "dockerfile".
	session, err := local.New(ctx, local.Options{
		Dirs:    map[string]string{"context": source, "dockerfile": source},
		Outputs: []string{out},
	})
	if err != nil {
		panic(err)
	}
	_, err = e.Build(ctx, engine.Request{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{"target": "hello", "build-arg:FILE": "greeting"},
		Session:       session,
		Exports:       []export.Request{{Type: "local", Dir: out}},
	})
	if err != nil {
		panic(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "greeting"))
	if err != nil {
		panic(err)
	}
	fmt.Print(string(text))
	// Output: Hello, Dockerfile!
}
