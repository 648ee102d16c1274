package export

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
)

func at(sec int64) *time.Time {
	t := time.Unix(sec, 0).UTC()
	return &t
}

func layer(id string, sec int64) store.Layer {
	return store.Layer{DiffID: digest.Digest("sha256:" + strings.Repeat(id, 64)), Description: "layer " + id, CreatedAt: at(sec)}
}

// A history is written as COMMAND@SECONDS, with ! for an empty layer and no @ without
// a time.
func TestAlignHistory(t *testing.T) {
	entry := func(s string) ocispec.History {
		var h ocispec.History
		s, h.EmptyLayer = strings.CutPrefix(s, "!")
		name, sec, timed := strings.Cut(s, "@")
		h.CreatedBy = name
		if timed {
			var n int64
			if err := json.Unmarshal([]byte(sec), &n); err != nil {
				t.Fatal(err)
			}
			h.Created = at(n)
		}
		return h
	}
	show := func(hs []ocispec.History) string {
		var out []string
		for _, h := range hs {
			s := h.CreatedBy
			if h.EmptyLayer {
				s = "!" + s
			}
			if h.Created != nil {
				n, _ := json.Marshal(h.Created.Unix())
				s += "@" + string(n)
			}
			out = append(out, s)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		about, in string
		layers    []store.Layer
		want      string
		surplus   bool
	}{
		{"nothing", "", nil, "", false},
		{"no history", "", []store.Layer{layer("a", 5)}, "layer a@5", false},
		{"as many", "x@1 !e@2 y@3", []store.Layer{layer("a", 8), layer("b", 9)}, "x@1 !e@2 y@3", false},
		{"a time from the layer", "x y", []store.Layer{layer("a", 8), layer("b", 9)}, "x@8 y@9", false},
		{"layers missing", "x@1 !e@2", []store.Layer{layer("a", 8), layer("b", 9)}, "x@1 !e@2 layer b@9", false},
		{"layers missing below", "", []store.Layer{layer("a", 8), layer("b", 9)}, "layer a@8 layer b@9", false},
		{"too many", "x@1 y@2 z@3", []store.Layer{layer("a", 8)}, "x@1 !y@2 !z@3", true},
		{"no layers", "x@1 !e@2", nil, "!x@1 !e@2", true},
		{"first commands have the first new layer's time", "x@1 !e y", []store.Layer{layer("a", 1), layer("b", 9)}, "x@1 !e@9 y@9", false},
		{"commands after the last layer", "x@1 y@2 !e", []store.Layer{layer("a", 1), layer("b", 2)}, "x@1 y@2 !e@2", false},
		{"only commands", "!e !f", nil, "!e !f", false},
	} {
		var in []ocispec.History
		for _, s := range strings.Fields(c.in) {
			in = append(in, entry(s))
		}
		before := show(in)
		got, surplus := alignHistory(in, c.layers)
		if show(got) != c.want || surplus != c.surplus {
			t.Errorf("%s: got %q, %v, want %q, %v", c.about, show(got), surplus, c.want, c.surplus)
		}
		if show(in) != before {
			t.Errorf("%s: the input was changed", c.about)
		}
		n := 0
		for _, h := range got {
			if !h.EmptyLayer {
				n++
			}
		}
		if n != len(c.layers) {
			t.Errorf("%s: %d entries for %d layers", c.about, n, len(c.layers))
		}
	}
}

func TestPatchConfig(t *testing.T) {
	amd64 := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm := &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	base := &ocispec.Image{History: []ocispec.History{{CreatedBy: "base", Created: at(50)}}}
	a, b := layer("a", 8), layer("b", 900)
	const noLayers = `"rootfs":{"type":"layers","diff_ids":[]}`
	fsA := `"rootfs":{"type":"layers","diff_ids":["` + a.DiffID.String() + `"]}`
	fsAB := `"rootfs":{"type":"layers","diff_ids":["` + a.DiffID.String() + `","` + b.DiffID.String() + `"]}`
	for _, c := range []struct {
		about, in string
		patch     configPatch
		want      string
	}{
		{"the platform is filled in", `{}`, configPatch{platform: arm},
			`{"os":"linux","architecture":"arm","variant":"v7","history":[],` + noLayers + `}`},
		{"what is said stays", `{"os":"linux","architecture":"s390x"}`, configPatch{platform: arm},
			`{"os":"linux","architecture":"s390x","history":[],` + noLayers + `}`},
		{"unknown fields stay", `{"os":"x","architecture":"y","foo":{"b":[1,"<&>"]},"config":{"Healthcheck":{"Test":["CMD"]}}}`, configPatch{},
			`{"os":"x","architecture":"y","foo":{"b":[1,"<&>"]},"config":{"Healthcheck":{"Test":["CMD"]}},"history":[],` + noLayers + `}`},
		{"BuildKit's own goes", `{"os":"x","architecture":"y","moby.buildkit.cache.v0":"e30=","moby.buildkit.buildinfo.v1":"e30="}`, configPatch{},
			`{"os":"x","architecture":"y","history":[],` + noLayers + `}`},
		{"layers", `{"rootfs":{"type":"layers","diff_ids":["sha256:old"]}}`, configPatch{platform: amd64, layers: []store.Layer{a}},
			`{"os":"linux","architecture":"amd64","created":"1970-01-01T00:00:08Z","history":[{"created":"1970-01-01T00:00:08Z","created_by":"layer a","comment":"` + addedComment + `"}],` + fsA + `}`},
		{"an epoch clamps", `{"created":"1970-01-01T00:01:20Z","history":[{"created_by":"base","created":"1970-01-01T00:00:50Z"},{"created_by":"b"}]}`,
			configPatch{platform: amd64, layers: []store.Layer{a, b}, epoch: at(10)},
			`{"os":"linux","architecture":"amd64","created":"1970-01-01T00:00:10Z","history":[{"created_by":"base","created":"1970-01-01T00:00:10Z"},{"created_by":"b","created":"1970-01-01T00:00:10Z"}],` + fsAB + `}`},
		{"but not the base", `{"history":[{"created_by":"base","created":"1970-01-01T00:00:50Z"},{"created_by":"b"}]}`,
			configPatch{platform: amd64, layers: []store.Layer{a, b}, epoch: at(10), base: base},
			`{"os":"linux","architecture":"amd64","created":"1970-01-01T00:00:10Z","history":[{"created_by":"base","created":"1970-01-01T00:00:50Z"},{"created_by":"b","created":"1970-01-01T00:00:10Z"}],` + fsAB + `}`},
		{"what is older stays", `{"created":"1970-01-01T00:00:05Z"}`, configPatch{platform: amd64, epoch: at(10)},
			`{"os":"linux","architecture":"amd64","created":"1970-01-01T00:00:05Z","history":[],` + noLayers + `}`},
		{"an epoch is a time", `{}`, configPatch{platform: amd64, epoch: at(10)},
			`{"os":"linux","architecture":"amd64","created":"1970-01-01T00:00:10Z","history":[],` + noLayers + `}`},
	} {
		got, err := patchConfig([]byte(c.in), c.patch)
		if err != nil {
			t.Errorf("%s: %v", c.about, err)
			continue
		}
		if !sameJSON(t, string(got.config), c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.about, got.config, c.want)
		}
	}
	got, err := patchConfig(nil, configPatch{platform: amd64, layers: []store.Layer{a}})
	if err != nil || !strings.Contains(string(got.config), `"PATH=/usr`) || !strings.Contains(string(got.config), `"WorkingDir":"/"`) {
		t.Errorf("no config: %s, %v", got.config, err)
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

func TestPatchConfigErrors(t *testing.T) {
	for in, want := range map[string]string{
		`{"os":"linux"}`: "must be specified together",
		`{}`:             "has no os",
		`null`:           "invalid null image config",
		`[]`:             "not valid",
		`{"os":1}`:       "not valid",
		`{`:              "not valid",
	} {
		if _, err := patchConfig([]byte(in), configPatch{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", in, err, want)
		}
	}
}

// What a frontend gives as a config is JSON from outside.
func FuzzPatchConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"amd64","history":[{"created_by":"x"},{"empty_layer":true}],"created":"2020-01-01T00:00:00Z"}`), 1, int64(5))
	f.Add([]byte(`{"rootfs":null,"history":null}`), 0, int64(0))
	f.Fuzz(func(t *testing.T, in []byte, n int, sec int64) {
		var layers []store.Layer
		for range min(max(n, 0), 20) {
			layers = append(layers, layer("a", 3))
		}
		p := configPatch{platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}, layers: layers}
		if sec >= 0 && sec < 1e10 {
			p.epoch = at(sec)
		}
		got, err := patchConfig(in, p)
		if err != nil {
			return
		}
		var img ocispec.Image
		if err := json.Unmarshal(got.config, &img); err != nil {
			t.Fatalf("%s: %v", got.config, err)
		}
		full := 0
		for _, h := range img.History {
			if !h.EmptyLayer {
				full++
			}
		}
		if full != len(layers) || len(img.RootFS.DiffIDs) != len(layers) {
			t.Fatalf("%d entries, %d diff IDs for %d layers", full, len(img.RootFS.DiffIDs), len(layers))
		}
		if p.epoch != nil && img.Created != nil && img.Created.After(*p.epoch) {
			t.Fatalf("created at %v, after %v", img.Created, p.epoch)
		}
	})
}
