package export_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/export"
)

func TestParseOutput(t *testing.T) {
	none := map[string]string{}
	for _, c := range []struct {
		in   string
		want export.Output
	}{
		{"out", export.Output{Type: "local", Attrs: none, Dest: "out"}},
		{"./a b", export.Output{Type: "local", Attrs: none, Dest: "./a b"}},
		{"out=x", export.Output{Type: "local", Attrs: none, Dest: "out=x"}},
		{"-", export.Output{Type: "tar", Attrs: none, Dest: "-"}},
		{"type=local,dest=out", export.Output{Type: "local", Attrs: none, Dest: "out"}},
		{"type=local,dest=out,mode=delete,platform-split=false", export.Output{Type: "local", Dest: "out",
			Attrs: map[string]string{"mode": "delete", "platform-split": "false"}}},
		{"type=tar", export.Output{Type: "tar", Attrs: none}},
		{"type=tar,dest=-", export.Output{Type: "tar", Attrs: none, Dest: "-"}},
		{`TYPE=oci,"dest=a,b.tar",Name=x`, export.Output{Type: "oci", Dest: "a,b.tar", Attrs: map[string]string{"name": "x"}}},
		{`type=image,"name=a,b",push=true`, export.Output{Type: "image", Attrs: map[string]string{"name": "a,b", "push": "true"}}},
		{"type=registry,name=r/x", export.Output{Type: "image", Attrs: map[string]string{"name": "r/x", "push": "true", "store": "false"}}},
		{"type=registry,name=r/x,push=false", export.Output{Type: "image", Attrs: map[string]string{"name": "r/x", "push": "false"}}},
		// The name may come from elsewhere, as from --tag.
		{"type=registry", export.Output{Type: "image", Attrs: map[string]string{"push": "true", "store": "false"}}},
		{"type=cacheonly", export.Output{Type: "cacheonly", Attrs: none}},
		{"type=docker", export.Output{Type: "docker", Attrs: none}},
		{"type=mine,anything=goes,dest=x", export.Output{Type: "mine", Attrs: map[string]string{"anything": "goes"}, Dest: "x"}},
		{"type=oci,Annotation-Index[linux/amd64].org.Example=V", export.Output{Type: "oci",
			Attrs: map[string]string{"annotation-index[linux/amd64].org.Example": "V"}}},
		{"type=oci,compression=zstd,compression-level=22,force-compression=true,oci-mediatypes=true", export.Output{Type: "oci",
			Attrs: map[string]string{"compression": "zstd", "compression-level": "22", "force-compression": "true", "oci-mediatypes": "true"}}},
		{"type=image,unpack=false,attestation-inline=false,registry.insecure=1", export.Output{Type: "image",
			Attrs: map[string]string{"unpack": "false", "attestation-inline": "false", "registry.insecure": "1"}}},
	} {
		got, err := export.ParseOutput(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		} else if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.in, got, c.want)
		}
	}
}

// Each error names what is wrong.
func TestParseOutputErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "empty",
		"type=local":                    "needs dest=",
		"type=local,dest=":              "dest= is empty",
		"type=local,dest=-":             "type=tar",
		"type=image,dest=x":             "not with type=image",
		"dest=x,name=y":                 "type= is missing",
		"type=oci,push":                 `"push" is not of the form key=value`,
		"type=oci,dest=a,dest=b":        `"dest" is given twice`,
		`type=oci,"dest=a`:              "not a line of CSV",
		"type=oci,push=true":            `unknown attribute "push"`,
		"type=image,nmae=x,pusch=y":     `unknown attribute "nmae" (did you mean "name"?), "pusch" (did you mean "push"?); it has attestation-inline, `,
		"type=cacheonly,name=x":         `unknown attribute "name"; it has none`,
		"type=tar,mode=delete":          `unknown attribute "mode"`,
		"type=local,dest=x,name=y":      `unknown attribute "name"`,
		"type=local,dest=x,mode=mirror": `mode="mirror"`,
		"type=image,push=maybe":         `push="maybe": say true or false`,
		"type=image,name=UPPER":         `"UPPER" is not the name of an image`,
		"type=image,name=a@sha256:0123456789012345678901234567890123456789012345678901234567890123": "has a digest",
		"type=image,name=r/a:t,push=true,push-by-digest=true":                                       "has a tag",
		"type=image,compression=estargz":                                                            "compression=estargz is not supported",
		"type=image,compression=lzma":                                                               "gzip, zstd and uncompressed",
		"type=image,compression-level=10":                                                           "from 0 to 9 for gzip",
		"type=oci,compression=zstd,compression-level=x":                                             "from 0 to 22",
		"type=tar,attestation-prefix=a/b":                                                           `no slash`,
		"type=oci,source-date-epoch=tomorrow":                                                       "not a whole number of seconds",
		"type=oci,source-date-epoch=9999999999999":                                                  "years 0 to 9999",
		"type=oci,annotation-foo.x=y":                                                               "unrecognized annotation type",
		"type=oci,annotation[no/such/plat/form].x=y":                                                "annotation[no/such/plat/form].x",
		"type=docker,tar=false,dest=x":                                                              "tar=false goes with type=oci",
		"type=image,dangling-name-prefix=a@b":                                                       "dangling-name-prefix",
	} {
		_, err := export.ParseOutput(in)
		if err == nil {
			t.Errorf("%s: no error", in)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %q does not say %q", in, err, want)
		}
	}
}

func FuzzParseOutput(f *testing.F) {
	for _, s := range []string{"", "-", "out", "type=oci", `type=image,"name=a,b",push=1`, "type=oci,annotation-index[linux/arm64].a.b=c", `"`, "type=tar,source-date-epoch=-1", "=,=", "type=,dest="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := export.ParseOutput(s)
		if err != nil {
			return
		}
		if out.Type == "" || out.Attrs == nil {
			t.Fatalf("%q: accepted as %+v", s, out)
		}
		if out.Type == "local" && out.Dest == "" {
			t.Fatalf("%q: nowhere to write to", s)
		}
	})
}

func TestOutputRequest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	request := func(s string) (export.Request, *bytes.Buffer, error) {
		t.Helper()
		out, err := export.ParseOutput(s)
		if err != nil {
			t.Fatal(err)
		}
		var stdout bytes.Buffer
		req, err := out.Request(&stdout)
		return req, &stdout, err
	}
	for in, want := range map[string]string{
		"type=tar,dest=" + dir:            "is a directory",
		"type=oci,dest=" + dir:            "tar=false",
		"type=oci,tar=false":              "needs dest=",
		"type=oci,tar=false,dest=" + file: "is a file",
		"type=local,dest=" + file:         "is a file",
	} {
		if _, _, err := request(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", in, err, want)
		}
	}
	req, stdout, err := request("type=tar,dest=-")
	if err != nil {
		t.Fatal(err)
	}
	w, err := req.Open(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil || stdout.String() != "hello" {
		t.Errorf("wrote %q to standard output: %v", stdout, err)
	}
	if req, _, err := request("type=mine,dest=" + dir); err != nil || req.Dir != dir || req.Open == nil {
		t.Errorf("a type of somebody else's: %+v, %v", req, err)
	}
	if req, _, err := request("type=oci,tar=false,dest=" + dir); err != nil || req.Dir != dir || req.Open != nil {
		t.Errorf("tar=false: %+v, %v", req, err)
	}
}

// A file takes its place when it is whole, and only then.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "f"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	content := func() string {
		dt, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(dt)
	}
	for _, how := range []string{path, link} {
		w, err := export.File(how, 0)(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "half"); err != nil {
			t.Fatal(err)
		}
		if got := content(); got != "old" {
			t.Errorf("before it was closed: %q", got)
		}
		if err := w.(export.Discarder).Discard(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := export.File(link, 0)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "new"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(); got != "new" || fi.Mode().Perm() != 0o640 {
		t.Errorf("%q, %v", got, fi.Mode())
	}
	if es, err := os.ReadDir(dir); err != nil || len(es) != 2 {
		t.Errorf("left behind: %v, %v", es, err)
	}
	if _, err := export.File(filepath.Join(dir, "no", "f"), 0)(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("without the directory: %v", err)
	}
}
