package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/util/system"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
)

// configPatch is what goes into an image's config when it is written.
type configPatch struct {
	platform *ocispec.Platform
	layers   []store.Layer
	// base is the config of the image that this one was built upon; nil if none.
	base  *ocispec.Image
	epoch *time.Time
	// inline is the image's inline cache; nil if none.
	inline []byte
}

// inlineCache is the field of a config that has an inline cache.
const inlineCache = "moby.buildkit.cache.v0"

// patched is the outcome of it.
type patched struct {
	config  []byte
	created *time.Time
	// platform is which one the config is for, normalised.
	platform ocispec.Platform
	// surplus says that the config's history had more layers than there are.
	surplus bool
}

// patchConfig makes the config that is written of the frontend's (nil: an empty
// one), which keeps every field it has, known here or not.
func patchConfig(config []byte, p configPatch) (patched, error) {
	if len(config) == 0 {
		var err error
		if config, err = emptyConfig(p.platform); err != nil {
			return patched{}, err
		}
	}
	var img ocispec.Image
	if err := json.Unmarshal(config, &img); err != nil {
		return patched{}, fmt.Errorf("the image's config is not valid: %w", err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &fields); err != nil {
		return patched{}, fmt.Errorf("the image's config is not a JSON object: %w", err)
	}
	if fields == nil {
		return patched{}, errors.New("invalid null image config for export") // as BuildKit says
	}
	if (img.OS == "") != (img.Architecture == "") {
		return patched{}, errors.New("invalid image config: os and architecture must be specified together") // likewise
	}
	for k := range fields {
		// What BuildKit kept in configs of its own accord: build info and inline
		// caches, which say nothing true of this image.
		if strings.HasPrefix(k, "moby.buildkit.") {
			delete(fields, k)
		}
	}
	pl, err := platformOf(img.Platform, p.platform)
	if err != nil {
		return patched{}, err
	}
	out := patched{platform: platforms.Normalize(pl)}
	set := map[string]any{"os": pl.OS, "architecture": pl.Architecture}
	for k, v := range map[string]string{"variant": pl.Variant, "os.version": pl.OSVersion} {
		if v != "" {
			set[k] = v
		}
	}
	if len(pl.OSFeatures) > 0 {
		set["os.features"] = pl.OSFeatures
	}
	var history []ocispec.History
	history, out.surplus = alignHistory(img.History, p.layers)
	if p.epoch != nil {
		var base []ocispec.History
		if p.base != nil {
			base = p.base.History
		}
		clampHistory(history, base, *p.epoch)
	}
	set["history"] = history
	set["rootfs"] = ocispec.RootFS{Type: "layers", DiffIDs: diffIDs(p.layers)}
	if p.inline != nil {
		set[inlineCache] = p.inline
	}
	if out.created = created(img, history, p.epoch); out.created != nil {
		set["created"] = out.created
	}
	for k, v := range set {
		dt, err := json.Marshal(v)
		if err != nil {
			return patched{}, fmt.Errorf("the image's config: %s: %w", k, err)
		}
		fields[k] = dt
	}
	if out.config, err = json.Marshal(fields); err != nil {
		return patched{}, fmt.Errorf("the image's config: %w", err)
	}
	return out, nil
}

// platformOf is the platform of a config, with what it does not say filled in by that
// of the build (nil: not known).
func platformOf(has ocispec.Platform, otherwise *ocispec.Platform) (ocispec.Platform, error) {
	if otherwise == nil {
		otherwise = &ocispec.Platform{}
	}
	sameOS := has.OS == "" || has.OS == otherwise.OS
	sameArch := has.Architecture == "" || has.Architecture == otherwise.Architecture
	if has.OS == "" {
		has.OS = otherwise.OS
	}
	if has.Architecture == "" {
		has.Architecture = otherwise.Architecture
	}
	if sameArch && has.Variant == "" {
		has.Variant = otherwise.Variant
	}
	if sameOS && has.OSVersion == "" {
		has.OSVersion = otherwise.OSVersion
	}
	if sameOS && len(has.OSFeatures) == 0 {
		has.OSFeatures = otherwise.OSFeatures
	}
	for _, f := range []struct{ name, value string }{{"os", has.OS}, {"architecture", has.Architecture}} {
		if f.value == "" {
			return has, fmt.Errorf("the image's config has no %s, and the build names no platform", f.name)
		}
	}
	return has, nil
}

func diffIDs(layers []store.Layer) []digest.Digest {
	ids := make([]digest.Digest, len(layers))
	for i, l := range layers {
		ids[i] = l.DiffID
	}
	return ids
}

// created is when an image was made: as its config says, or its last layer; never
// later than limit.
func created(img ocispec.Image, history []ocispec.History, limit *time.Time) *time.Time {
	at := img.Created
	for i := len(history) - 1; at == nil && i >= 0; i-- {
		at = history[i].Created
	}
	if limit != nil && (at == nil || at.After(*limit)) {
		at = limit
	}
	return at
}

// emptyConfig is the config of an image of which the frontend said nothing.
func emptyConfig(p *ocispec.Platform) ([]byte, error) {
	def := platforms.Normalize(platforms.DefaultSpec())
	if p == nil {
		p = &def
	}
	img := ocispec.Image{Platform: *p}
	img.Config.WorkingDir = "/"
	if p.OS != "windows" {
		img.Config.Env = []string{"PATH=" + system.DefaultPathEnv(p.OS)}
	}
	return json.Marshal(img)
}
