package main

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
)

// TestOutputs checks what is exported for the flags that say so, or imply it.
func TestOutputs(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string][]string{
		"":                          {},
		"-o out":                    {"local dir=out"},
		"-o -":                      {"tar open"},
		"-t x":                      {"image name=docker.io/library/x:latest"},
		"-t x -t h:5000/y:1":        {"image name=docker.io/library/x:latest,h:5000/y:1"},
		"-q":                        {"image dangling-name-prefix=untagged"},
		"--iidfile i":               {"image dangling-name-prefix=untagged"},
		"-t x --push":               {"image name=docker.io/library/x:latest push=true store=false"},
		"-t x -o out":               {"local dir=out"},
		"-t x -o out --push":        {"local dir=out", "image name=docker.io/library/x:latest push=true store=false"},
		"-t x -o type=image --push": {"image name=docker.io/library/x:latest push=true"},
		"-t x -o type=registry":     {"image name=docker.io/library/x:latest push=true store=false"},
		"-o type=image,name=y -t x": {"image name=docker.io/library/x:latest,y"},
		"-o type=cacheonly":         {"cacheonly"},
		"-t x -o type=oci,dest=a.tar -o type=docker,dest=b.tar": {
			"oci open name=docker.io/library/x:latest", "docker open name=docker.io/library/x:latest"},
		"-t x --annotation a=b":                           {"image annotation-manifest.a=b name=docker.io/library/x:latest"},
		"-t x --annotation index,manifest[linux/386]:a=b": {"image annotation-index.a=b annotation-manifest[linux/386].a=b name=docker.io/library/x:latest"},
		"-t x --annotation org.a=b":                       {"image annotation-manifest.org.a=b name=docker.io/library/x:latest"},
	} {
		t.Run(args, func(t *testing.T) {
			c := &cli{out: &bytes.Buffer{}, env: environment()}
			reqs, kept, err := c.exports(t.Context(), parsed(t, strings.Fields(args)...))
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, r := range reqs {
				line := r.Type
				if r.Dir != "" {
					line += " dir=" + r.Dir
				}
				if r.Open != nil {
					line += " open"
				}
				for _, k := range sortedKeys(r.Attrs) {
					line += fmt.Sprintf(" %s=%s", k, r.Attrs[k])
				}
				got = append(got, line)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if kept != (len(want) == 0) {
				t.Errorf("kept is %t", kept)
			}
		})
	}
}

// TestMetadata checks that what is JSON becomes part of it.
func TestMetadata(t *testing.T) {
	got := metadata(map[string]string{
		exptypes.ExporterImageDigestKey: "sha256:1", "plain": `{"a":1}`, "packed": "eyJiIjoyfQ==", "broken": "{", "word": "abcd",
	})
	said := map[string]string{}
	for k, v := range got {
		said[k] = fmt.Sprintf("%T %s", v, v)
	}
	want := map[string]string{
		"containerimage.digest": "string sha256:1", "plain": `json.RawMessage {"a":1}`,
		"packed": `json.RawMessage {"b":2}`, "broken": "string {", "word": "string abcd",
	}
	if !maps.Equal(said, want) {
		t.Errorf("got  %v\nwant %v", said, want)
	}
}
