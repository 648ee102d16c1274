package why

import (
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// sources says how a source differs from an earlier one, of which parts are used; nil for all.
func (c *comparison) sources(old, now *Step, parts []Part) (out []Cause) {
	if len(old.Ops) > 0 && len(now.Ops) > 0 && meet(old.Ops, now.Ops) {
		return nil
	}
	was, _ := old.fact(FactSource, "")
	is, _ := now.fact(FactSource, "")
	scheme, _, _ := strings.Cut(is, "://")
	before, _, _ := strings.Cut(was, "://")
	if scheme == "local" && before == "local" {
		return c.local(old, now, parts)
	}
	cause := Cause{Kind: Source, Name: source(is)}
	if isImage(scheme) {
		cause.Kind = Image
	}
	dWas, _ := old.fact(FactDigest, "")
	dIs, _ := now.fact(FactDigest, "")
	switch {
	case was != is && named(was) != named(is):
		cause.Old, cause.New = source(was), source(is)
		out = append(out, cause)
	case dWas != dIs:
		cause.Name = named(is)
		cause.Old, cause.New = dWas, dIs
		out = append(out, cause)
	case was != is:
		cause.Old, cause.New = source(was), source(is)
		out = append(out, cause)
	}
	for _, d := range factsDiffer(old, now, c.old.Attrs, c.now.Attrs) {
		if d.Kind == Setting && d.Name != string(FactSource) && d.Name != string(FactDigest) { // which were told
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		out = []Cause{{Kind: Unknown, Name: source(is), Missing: "the source differs, and what it stood for is not kept"}}
	}
	return out
}

func isImage(scheme string) bool { return scheme == "docker-image" || scheme == "oci-layout" }

// source is an identifier as people write it.
func source(id string) string {
	for _, scheme := range []string{"docker-image://", "oci-layout://", "local://", "git://"} {
		if rest, ok := strings.CutPrefix(id, scheme); ok {
			return rest
		}
	}
	return id
}

// named is a source without the digest that a frontend has resolved it to.
func named(id string) string {
	name, _, _ := strings.Cut(source(id), "@sha256:")
	return name
}

// filters are words for what chooses the files of a directory: .dockerignore, mostly.
var filters = map[string]string{pb.AttrExcludePatterns: "exclude patterns of ", pb.AttrIncludePatterns: "include patterns of "}

// local says which files of a directory differ, and whether what is left out of it does.
func (c *comparison) local(old, now *Step, parts []Part) (out []Cause) {
	cause := c.files.between(old, now, parts)
	id, _ := now.fact(FactSource, "")
	cause.Name = source(id)
	out = append(out, cause)
	for _, name := range []string{pb.AttrExcludePatterns, pb.AttrIncludePatterns} {
		was, _ := old.fact(FactAttr, name)
		is, _ := now.fact(FactAttr, name)
		if was != is {
			out = append(out, Cause{Kind: Setting, Name: filters[name] + source(id), Old: was, New: is})
		}
	}
	return out
}
