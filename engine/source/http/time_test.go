package http_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/engine/store"
)

// everything is all that can be seen of the one file in a tree.
func everything(t *testing.T, ref *store.Ref) (name, all string) {
	t.Helper()
	err := trees.Read(t.Context(), ref, func(dir string) error {
		files, err := filepath.Glob(dir + "/*")
		if err != nil || len(files) != 1 {
			return fmt.Errorf("files %v: %w", files, err)
		}
		name = filepath.Base(files[0])
		fi, err := os.Lstat(files[0])
		if err != nil {
			return err
		}
		text, err := os.ReadFile(files[0])
		st := fi.Sys().(*syscall.Stat_t)
		all = fmt.Sprintf("%s %v %d:%d %v %q", name, fi.Mode(), st.Uid, st.Gid, fi.ModTime().UTC(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return name, all
}

// Files with one key, or one content key, are the same in everything that can be seen of
// them, whatever servers say and when.
func TestEqualKeysAreEqualFiles(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "")
	const (
		old   = "Sat, 01 Jan 2022 00:00:00 GMT"
		newer = "Sun, 02 Jan 2022 00:00:00 GMT"
		never = "Fri, 31 Dec 9999 23:59:59 GMT" // no file system keeps it
	)
	sum := digest.FromString("same").String()
	variants := [][]string{
		nil, {pb.AttrHTTPPerm, "0755"}, {pb.AttrHTTPUID, "7"}, {pb.AttrHTTPFilename, "other"},
		{pb.AttrHTTPChecksum, sum}, {pb.AttrHTTPChecksum, digest.SHA512.FromString("same").String()},
	}
	byKey, byContent := map[string]string{}, map[string]string{}
	is := func(seen map[string]string, key, all string) {
		t.Helper()
		if was, ok := seen[key]; ok && was != all {
			t.Errorf("%s is\n\t%s, and\n\t%s", key, was, all)
		}
		seen[key] = all
	}
	// Each file is asked for three times: new, then kept, then forgotten.
	for _, etag := range []bool{true, false} {
		for _, path := range []string{"/a", "/b"} {
			for _, modified := range []string{"", old, newer, old, never, ""} {
				srv.change(func() { srv.text, srv.etag, srv.header = "same", etag, map[string]string{"Last-Modified": modified} })
				for _, attrs := range variants {
					for _, how := range []string{"new", "kept", "forgotten"} {
						if how == "forgotten" {
							if err := os.RemoveAll(e.Store.Path("http")); err != nil {
								t.Fatal(err)
							}
						}
						o := op(srv.URL+path, attrs...)
						key, ref, err := sourcetest.Solve(e.Build(t, secrets()), t, newSource(t, e), o)
						if err != nil {
							t.Fatal(err)
						}
						name, all := everything(t, ref)
						is(byKey, key, all)
						content, err := contenthash.Checksum(t.Context(), ref, "/"+name, contenthash.Opt{})
						if err != nil {
							t.Fatal(err)
						}
						is(byContent, name+" "+content.String(), all)
						pinned := len(attrs) > 0 && attrs[0] == pb.AttrHTTPChecksum
						if want := strings.Contains(all, "2022-01-01"); !pinned && want != (modified == old) {
							t.Errorf("%s of %s (%q) is %s", how, path, modified, all)
						}
					}
				}
			}
		}
	}
}

// A server that says that a file is still the same may give it another time.
func TestNotModifiedWithAnotherTime(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "text")
	srv.change(func() {
		srv.handler = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Last-Modified", srv.header["Last-Modified"])
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write([]byte("text")) // the client may have gone
		}
	})
	keys := map[string]bool{}
	for _, day := range []string{"01", "01", "02"} {
		srv.change(func() { srv.header["Last-Modified"] = "Sat, " + day + " Jan 2022 00:00:00 GMT" })
		key, ref, err := sourcetest.Solve(e.Build(t, secrets()), t, newSource(t, e), op(srv.URL+"/f"))
		if err != nil {
			t.Fatal(err)
		}
		if _, all := everything(t, ref); !strings.Contains(all, "2022-01-"+day) {
			t.Errorf("on day %s: %s", day, all)
		}
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Errorf("keys %v", keys)
	}
}
