package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/why"
)

// buildCaches are what --cache-from and --cache-to name.
type buildCaches struct {
	from, to []remotecache.Option
	// read and written are folders, by the names that the build knows them by.
	read, written map[string]string
	// sweep has folders of which is removed what no cache in them stands on.
	sweep map[string]bool
	// keys sign caches of to, which name them in their attribute sign.
	keys map[string]*cachesign.Key
	// tags are what the caches of to are called in the indexes of their folders.
	tags []string
	// skipped are those that are not read.
	skipped []why.Cache
}

// caches reads --cache-from and --cache-to. A folder without a cache is said, and left out.
func (c *cli) caches(f *buildFlags) (*buildCaches, error) {
	b := &buildCaches{read: map[string]string{}, written: map[string]string{}, sweep: map[string]bool{}, keys: map[string]*cachesign.Key{}}
	for _, s := range f.cacheFrom {
		o, err := parseCache(s)
		if err == nil {
			err = withVerifier(o)
		}
		if err != nil {
			return nil, fmt.Errorf("--cache-from %q: %w", unsecret(s), err)
		}
		c.fromEnv(o)
		if o.Type == "local" {
			skipped, err := b.readFolder(o)
			if err != nil {
				return nil, fmt.Errorf("--cache-from %q: %w", unsecret(s), err)
			}
			if skipped != "" {
				c.hint(f, fmt.Sprintf("--cache-from %s: %s: built without", unsecret(s), skipped))
				b.skipped = append(b.skipped, why.Cache{Name: why.Redacted(unsecret(s)), Error: skipped})
				continue
			}
		}
		b.from = append(b.from, o)
	}
	for _, s := range f.cacheTo {
		o, err := parseCache(s)
		if err == nil && o.Type == "local" {
			err = b.writeFolder(o)
		}
		if err == nil {
			err = c.withKey(o, b.keys)
		}
		if err != nil {
			return nil, fmt.Errorf("--cache-to %q: %w", unsecret(s), err)
		}
		c.fromEnv(o)
		b.tags = append(b.tags, tagOf(o))
		b.to = append(b.to, o)
	}
	if c.wantsInline(f) && !slices.ContainsFunc(b.to, func(o remotecache.Option) bool { return o.Type == remotecache.TypeInline }) {
		b.tags = append(b.tags, "")
		b.to = append(b.to, remotecache.Option{Type: remotecache.TypeInline})
	}
	return b, nil
}

// wantsInline says whether a build argument asks for an inline cache, as with docker buildx.
func (c *cli) wantsInline(f *buildFlags) bool {
	for _, arg := range f.buildArgs {
		name, value, ok := strings.Cut(arg, "=")
		if name != "BUILDKIT_INLINE_CACHE" {
			continue
		}
		if !ok {
			value, _ = c.env(name)
		}
		if yes, err := strconv.ParseBool(value); err == nil && yes {
			return true
		}
	}
	return false
}

// secrets are the attributes of caches that nobody is to see.
var secrets = regexp.MustCompile(`(?i)\b((?:secret_access_key|session_token|ghtoken|token|sig)=)[^,&"]+`)

// unsecret is the value of a flag as it may be shown.
func unsecret(s string) string { return secrets.ReplaceAllString(s, "$1...") }

// parseCache reads one of them as docker buildx does: a line of CSV, or the name of an image.
func parseCache(s string) (remotecache.Option, error) {
	o := remotecache.Option{Attrs: map[string]string{}}
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return o, fmt.Errorf("it is not a line of CSV: %w", err)
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		if fields[0] == "" {
			return o, errors.New("it is empty: say type=TYPE, or the name of an image")
		}
		if fields[0] == remotecache.TypeInline {
			o.Type = fields[0]
			return o, nil
		}
		o.Type, o.Attrs["ref"] = "registry", fields[0]
		return o, nil
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok || key == "" {
			return o, fmt.Errorf("%q is not of the form key=value", field)
		}
		if key == "type" {
			o.Type = value
			continue
		}
		if _, twice := o.Attrs[key]; twice {
			return o, fmt.Errorf("%q is given twice", key)
		}
		o.Attrs[key] = value
	}
	if o.Type == "" {
		return o, errors.New("type= is missing")
	}
	return o, nil
}

// tagOf is what a cache is called in the index of its folder.
func tagOf(o remotecache.Option) string {
	if tag := o.Attrs["tag"]; tag != "" {
		return tag
	}
	return "latest"
}

// readFolder finds the manifest of a cache in a folder. Skipped says why there is none.
func (b *buildCaches) readFolder(o remotecache.Option) (skipped string, err error) {
	dir, err := folderOf(o, "src")
	if err != nil {
		return "", err
	}
	if o.Attrs["digest"] == "" {
		idx, err := local.LayoutIndex(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return "there is no cache in " + dir, nil
		}
		if err != nil {
			return err.Error(), nil
		}
		tag := tagOf(o)
		for _, m := range idx.Manifests {
			if m.Annotations[ocispec.AnnotationRefName] == tag {
				o.Attrs["digest"] = m.Digest.String()
			}
		}
		if o.Attrs["digest"] == "" {
			return fmt.Sprintf("%s has no cache with the tag %q", dir, tag), nil
		}
	}
	if err := digest.Digest(o.Attrs["digest"]).Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", o.Attrs["digest"], err)
	}
	b.read[dir] = dir
	return "", nil
}

func (b *buildCaches) writeFolder(o remotecache.Option) error {
	dir, err := folderOf(o, "dest")
	if err != nil {
		return err
	}
	if v, ok := o.Attrs["reset"]; ok {
		sweep, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("reset=%q: say true or false", v)
		}
		b.sweep[dir] = sweep
	}
	b.written[dir] = dir
	return nil
}

// folderOf makes the path in an attribute absolute.
func folderOf(o remotecache.Option, key string) (string, error) {
	if o.Attrs[key] == "" {
		return "", fmt.Errorf("%s= is missing: the folder of the cache", key)
	}
	dir, err := filepath.Abs(o.Attrs[key])
	o.Attrs[key] = dir
	return dir, err
}

// finish names the caches that were written in the indexes of their folders, of what the
// build has said of each. One that was interrupted names nothing.
func (c *cli) finish(ctx context.Context, f *buildFlags, b *buildCaches, said []map[string]string) error {
	var errs error
	for i, s := range said {
		dt := s[remotecache.ResponseManifest]
		if dt == "" || i >= len(b.to) || b.to[i].Type != "local" || ctx.Err() != nil {
			continue
		}
		err := b.name(ctx, os.FileMode(c.umask), i, dt)
		if err == nil {
			c.sweep(ctx, f, b, b.to[i].Attrs["dest"])
			continue
		}
		err = fmt.Errorf("the index of the cache in %s: %w", b.to[i].Attrs["dest"], err)
		if b.to[i].MayFail() {
			c.hint(f, err.Error())
			continue
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// sweep makes a folder smaller, if that is asked for. The cache is there also where it fails.
func (c *cli) sweep(ctx context.Context, f *buildFlags, b *buildCaches, dir string) {
	if !b.sweep[dir] {
		return
	}
	if err := export.SweepLayout(ctx, dir); err != nil {
		c.hint(f, fmt.Sprintf("--cache-to %s,reset=true: %v", dir, err))
	}
}

// name names one, whose manifest the build has told as JSON.
func (b *buildCaches) name(ctx context.Context, umask os.FileMode, i int, manifest string) error {
	var desc ocispec.Descriptor
	if err := json.Unmarshal([]byte(manifest), &desc); err != nil {
		return fmt.Errorf("the manifest of the cache: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, namePatience, errors.New("another process has it locked"))
	defer cancel()
	return export.NameInLayout(ctx, b.to[i].Attrs["dest"], umask, desc, nil, b.tags[i])
}

// namePatience is how long the index of a folder is waited for.
const namePatience = 30 * time.Second
