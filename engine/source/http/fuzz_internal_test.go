package http

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
)

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(`{"Version":2,"Digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","Filename":"f","Tree":"x","ETag":"\"a\""}`))
	f.Fuzz(func(t *testing.T, dt []byte) {
		e, ok := decodeEntry(dt)
		if !ok {
			return
		}
		if e.Digest.Validate() != nil || e.Filename != filepath.Base(e.Filename) || strings.ContainsAny(e.ETag+e.Since, "\r\n") {
			t.Errorf("taken: %+v", e)
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := decodeEntry(again); !ok {
			t.Errorf("%s is not taken again", again)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add("https://h/a/../b%2f..", "../x", `attachment; filename="../y"`)
	f.Fuzz(func(t *testing.T, url, attr, disposition string) {
		r := request{URL: url, Filename: attr}
		name := r.name(map[string][]string{"Content-Disposition": {disposition}})
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n") || len(name) > 255 {
			t.Errorf("%q", name)
		}
		_, _ = parse(&pb.SourceOp{Identifier: url, Attrs: map[string]string{pb.AttrHTTPPerm: attr, pb.AttrHTTPHeaderPrefix + attr: disposition}})
	})
}
