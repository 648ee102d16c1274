package remotecache

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/util/compression"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Option is a cache to read or to write, as --cache-from and --cache-to name it.
type Option struct {
	// Type is that of a Backend, as "registry".
	Type  string
	Attrs map[string]string
	// Lenient has a mistake in a cache that is read be told in progress, and be no error, as
	// with BuildKit.
	Lenient bool
}

// Name is what people know the cache by.
func (o Option) Name() string {
	for _, key := range []string{"ref", "src", "dest"} {
		if v := o.Attrs[key]; v != "" {
			return v
		}
	}
	name := o.Type
	for _, key := range []string{"bucket", "container", "scope", "prefix", "name"} {
		if v := o.Attrs[key]; v != "" {
			name += " " + v
		}
	}
	return name
}

// MayFail says that a build does not fail because the cache cannot be written.
func (o Option) MayFail() bool {
	a := &attrs{Option: o}
	return a.boolean("ignore-error", false) && a.err == nil
}

// attrs reads attributes. The first fault is kept.
type attrs struct {
	Option
	err error
}

func (a *attrs) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("cache type=%s: "+format, append([]any{a.Type}, args...)...)
	}
}

func (a *attrs) needed(key string) string {
	v := a.Attrs[key]
	if v == "" {
		a.fail("%s is missing", key)
	}
	return v
}

// or is the value of a key; without it, what it is otherwise.
func (a *attrs) or(key, otherwise string) string {
	if v, ok := a.Attrs[key]; ok {
		return v
	}
	return otherwise
}

// duration reads a time, such as 24h.
func (a *attrs) duration(key string, otherwise time.Duration) time.Duration {
	v, ok := a.Attrs[key]
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		a.fail("%s=%q: say a time such as 24h or 30m", key, v)
	}
	return d
}

// count reads a number from 1 to most.
func (a *attrs) count(key string, otherwise, most int) int {
	v, ok := a.Attrs[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		a.fail("%s=%q: say a number above 0", key, v)
	}
	return min(n, most)
}

// boolean reads a truth value. A key without a value is true.
func (a *attrs) boolean(key string, otherwise bool) bool {
	v, ok := a.Attrs[key]
	switch {
	case !ok:
		return otherwise
	case v == "":
		return true
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		a.fail("%s=%q: say true or false", key, v)
	}
	return b
}

// trust reads whose caches are used: verify is a public key, in PEM.
func (a *attrs) trust() *Trust {
	pem, ok := a.Attrs["verify"]
	if !ok {
		return nil
	}
	v, err := cachesign.ParseVerifier([]byte(pem))
	if err != nil {
		a.fail("verify: %w", err)
	}
	return &Trust{v}
}

// form reads how a manifest is written.
func (a *attrs) form(all *session.Sessions) Form {
	oci := a.boolean("oci-mediatypes", true)
	f := Form{Docker: !oci, Index: !a.boolean("image-manifest", oci)}
	if f.Docker && !f.Index {
		a.fail("image-manifest=true needs OCI media types: drop oci-mediatypes=false")
	}
	f.Sign = a.signer(all)
	return f
}

// Extent is what an export takes, whatever it is written to.
type Extent struct {
	Mode solver.CacheExportMode
	// Layers is the form of layers that have none yet.
	Layers store.LayerOptions
	// Mounts are the cache mounts that go along.
	Mounts MountChoice
	// IgnoreError says that a build does not fail with the export.
	IgnoreError bool
}

// maxLevel are the largest levels of compressions.
var maxLevel = map[string]int{"gzip": 9, "zstd": 22}

func (a *attrs) extent() Extent {
	e := Extent{Mode: solver.CacheExportModeMin, Mounts: a.mounts(), IgnoreError: a.boolean("ignore-error", false)}
	switch v := strings.ToLower(a.Attrs["mode"]); v {
	case "", "min":
	case "max":
		e.Mode = solver.CacheExportModeMax
	default:
		a.fail("mode=%q: there are min and max", v)
	}
	kind := a.Attrs["compression"]
	switch kind {
	case "":
		kind = "gzip"
	case "gzip", "zstd", "uncompressed":
	default:
		a.fail("compression=%q: there are gzip, zstd and uncompressed", kind)
		return e
	}
	t, err := compression.Parse(kind)
	if err != nil {
		a.fail("compression=%q: %w", kind, err)
		return e
	}
	c := compression.New(t).SetForce(a.boolean("force-compression", false))
	if v, ok := a.Attrs["compression-level"]; ok {
		level, err := strconv.Atoi(v)
		if err != nil || level < 0 || level > maxLevel[kind] {
			a.fail("compression-level=%q: say a number from 0 to %d for %s", v, maxLevel[kind], kind)
		}
		c = c.SetLevel(level)
	}
	e.Layers = store.LayerOptions{Compression: c}
	return e
}
