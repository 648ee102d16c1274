package export

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/compression"
)

// imageForm is how an image is written, whatever it is written to.
type imageForm struct {
	names       []string // full names, with tags
	given       string   // names as they were asked for
	untagged    bool     // names have no tags: they are pushed by digest
	nameFromRun bool     // name=*: the frontend's
	mediaTypes
	compression compression.Config
	rewrite     bool
	epoch       epoch
	annotations annotations
	// inlineAttestations has attestations that are for images alone.
	inlineAttestations bool
	// foreign leaves foreign layers where they are from.
	foreign bool
}

// form reads the attributes that all exporters of images have.
func (a *attrs) form() imageForm {
	f := imageForm{
		epoch:       a.epoch(),
		annotations: a.annotations(),
		compression: a.compression(),
		mediaTypes:  a.mediaTypes(),
		rewrite:     a.boolean(string(exptypes.OptKeyRewriteTimestamp), false),
	}
	if a.typ == TypeImage {
		f.untagged = a.boolean(string(exptypes.OptKeyPushByDigest), false)
	}
	f.given, _ = a.text(string(exptypes.OptKeyName))
	if f.nameFromRun = f.given == "*"; !f.nameFromRun {
		f.names = a.names(f.given, f.untagged)
	}
	f.inlineAttestations = a.boolean(string(exptypes.OptKeyForceInlineAttestations), a.typ == TypeImage)
	f.foreign = a.boolean(string(exptypes.OptKeyPreferNondistLayers), false)
	return f
}

// names reads a comma-separated list of names. They come out full, with a tag, as
// docker reads them: "a" is "docker.io/library/a:latest".
func (a *attrs) names(given string, untagged bool) []string {
	names, err := parseNames(given, untagged)
	if err != nil {
		a.fail("%s: %w", exptypes.OptKeyName, err)
	}
	return names
}

func parseNames(list string, untagged bool) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	var names []string
	seen := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		named, err := reference.ParseNormalizedNamed(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("%q is not the name of an image: %w", name, err)
		}
		if _, ok := named.(reference.Digested); ok {
			return nil, fmt.Errorf("%q has a digest, which is not known before the image is built: give a tag", name)
		}
		if untagged && !reference.IsNameOnly(named) {
			return nil, fmt.Errorf("%q has a tag, which push-by-digest leaves out: give the name alone", name)
		}
		if !untagged {
			named = reference.TagNameOnly(named)
		}
		full := named.String()
		if !seen[full] {
			seen[full] = true
			names = append(names, full)
		}
	}
	return names, nil
}

// compression reads compression, compression-level and force-compression.
func (a *attrs) compression() compression.Config {
	c := compression.New(compression.Default)
	key := string(exptypes.OptKeyLayerCompression)
	maxLevel := 9
	switch v, ok := a.text(key); {
	case !ok, v == "gzip":
	case v == "zstd":
		c, maxLevel = compression.New(compression.Zstd), 22
	case v == "uncompressed":
		c, maxLevel = compression.New(compression.Uncompressed), 0
	case v == "estargz":
		a.fail("%s=estargz is not supported: there are gzip, zstd and uncompressed", key)
	default:
		a.fail("%s=%q: there are gzip, zstd and uncompressed", key, v)
	}
	c = c.SetForce(a.boolean(string(exptypes.OptKeyForceCompression), false))
	key = string(exptypes.OptKeyCompressionLevel)
	if v, ok := a.text(key); ok {
		level, err := strconv.Atoi(v)
		if err != nil || level < 0 || level > maxLevel {
			a.fail("%s=%q: say a number from 0 to %d for %s", key, v, maxLevel, c.Type)
		}
		c = c.SetLevel(level)
	}
	return c
}

// imageOptions are the attributes of type=image.
type imageOptions struct {
	imageForm
	push, insecure      bool
	store, canonical    bool
	danglingPrefix      string
	danglingOnlyUnnamed bool
}

func parseImageOptions(m map[string]string) (imageOptions, error) {
	a := newAttrs(TypeImage, m)
	// What is in a registry is not held here, too: each push would take room for good.
	push := a.boolean(string(exptypes.OptKeyPush), false)
	o := imageOptions{
		imageForm:           a.form(),
		push:                push,
		insecure:            a.boolean(string(exptypes.OptKeyInsecure), false),
		store:               a.boolean(string(exptypes.OptKeyStore), !push),
		canonical:           a.boolean(string(exptypes.OptKeyNameCanonical), false),
		danglingOnlyUnnamed: a.boolean(string(exptypes.OptKeyDanglingEmptyOnly), false),
	}
	if v, ok := a.text(string(exptypes.OptKeyDanglingPrefix)); ok {
		if err := checkPrefix(v); err != nil {
			a.fail("%s=%q: %w", exptypes.OptKeyDanglingPrefix, v, err)
		}
		o.danglingPrefix = v
	}
	if !o.store && !o.push {
		a.fail("%s=false without %s=true writes nothing: say type=cacheonly, if that is what you want", exptypes.OptKeyStore, exptypes.OptKeyPush)
	}
	// An image is unpacked when a build uses it, whatever was said before.
	a.boolean(string(exptypes.OptKeyUnpack), false)
	return o, a.done()
}

// checkPrefix refuses a prefix that "@" and a digest do not make a name of.
func checkPrefix(prefix string) error {
	if prefix == "" || strings.ContainsAny(prefix, "@, ") {
		return fmt.Errorf("it is put before @ and the digest, and must not be empty or have @, commas or spaces")
	}
	return nil
}

// archiveOptions are the attributes of type=oci and type=docker.
type archiveOptions struct {
	imageForm
	tar bool
}

func parseArchiveOptions(typ string, m map[string]string, remote bool) (archiveOptions, error) {
	a := newAttrs(typ, m)
	o := archiveOptions{imageForm: a.form(), tar: a.boolean("tar", true)}
	if typ == TypeDocker {
		a.refuse("context", "the docker command has its own: set DOCKER_CONTEXT")
	}
	// What a caller elsewhere does with a layout is its business.
	if typ == TypeDocker && !o.tar && !remote {
		a.fail("tar=false goes with type=oci: docker loads archives")
	}
	return o, a.done()
}

// treeOptions are the attributes of type=local and type=tar.
type treeOptions struct {
	epoch epoch
	// split says whether each platform has a directory of its own; nil: if there is a
	// result for each platform.
	split *bool
	// attestationPrefix is put before the names of attestations' files.
	attestationPrefix string
	// mirror removes from the destination what is not in the result.
	mirror bool
	// privileged keeps in a directory what can give its users rights: see leftOut.
	privileged bool
}

func parseTreeOptions(typ string, m map[string]string) (treeOptions, error) {
	a := newAttrs(typ, m)
	o := treeOptions{epoch: a.epoch()}
	_, given := a.left["platform-split"]
	if split := a.boolean("platform-split", true); given {
		o.split = &split
	}
	o.attestationPrefix, _ = a.text("attestation-prefix")
	if strings.Contains(o.attestationPrefix, "/") {
		a.fail("attestation-prefix=%q: it is put before the name of a file, and must have no slash", o.attestationPrefix)
	}
	if typ == TypeLocal {
		o.privileged = a.boolean("privileged-files", false)
		switch v, _ := a.text("mode"); strings.ToLower(strings.TrimSpace(v)) {
		case "", "copy":
		case "delete":
			o.mirror = true
		default:
			a.fail("mode=%q: say copy, which keeps what else is in the directory, or delete", v)
		}
	}
	return o, a.done()
}
