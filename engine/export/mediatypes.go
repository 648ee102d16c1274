package export

import (
	"cmp"
	"errors"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/llbsolver/compat"
	"github.com/moby/buildkit/util/compression"
)

// mediaTypes are the types that an image is written with.
type mediaTypes struct {
	oci bool // otherwise docker's
	// artifact makes the manifest of attestations an OCI artifact.
	artifact bool
	// What is not said depends on the compatibility version, and on the result.
	said struct{ oci, artifact bool }
}

func (a *attrs) mediaTypes() (t mediaTypes) {
	oci, artifact := string(exptypes.OptKeyOCITypes), string(exptypes.OptKeyOCIArtifact)
	_, t.said.oci = a.left[oci]
	_, t.said.artifact = a.left[artifact]
	t.oci, t.artifact = a.boolean(oci, true), a.boolean(artifact, true)
	return t
}

// settle decides what was not said: before version 30, the types of an image without
// attestations were docker's, and attestations were no artifact.
func (f imageForm) settle(req Request, src *Source) imageForm {
	if req.version() >= compat.CompatibilityVersion031 {
		return f
	}
	if !f.said.oci && req.Type != TypeOCI {
		f.oci = src.attested()
	}
	if !f.said.artifact {
		f.artifact = false
	}
	return f
}

// attested says whether there is something to say of a result.
func (s *Source) attested() bool {
	for _, p := range s.Platforms {
		if len(p.Attestations) > 0 {
			return true
		}
	}
	return false
}

func (r Request) version() int {
	return cmp.Or(r.Compatibility, compat.CompatibilityVersionCurrent)
}

// Attests is which attestations a result is going to have, as far as that is known before it
// is there.
type Attests int

// What is known.
const (
	AttestsUnknown Attests = iota
	AttestsInline          // some, for outputs that are images
	AttestsAll             // some, for all outputs
)

var errAttestedTypes = errors.New("attestations need OCI media types: drop oci-mediatypes=false, or ask for no attestations (--provenance=false)")

// checkForm refuses, before there is anything to write, what cannot be written.
func (r Request) checkForm(form imageForm) error {
	attested := r.Attests == AttestsAll || r.Attests == AttestsInline && form.inlineAttestations
	if attested && form.said.oci && !form.oci {
		return errAttestedTypes
	}
	if v := r.version(); v == compat.CompatibilityVersion013 && form.compression.Type == compression.Zstd {
		return errdefs.NewUnsupportedCompatibilityFeatureError(v, r.Type+" exporter compression=zstd")
	}
	return nil
}
