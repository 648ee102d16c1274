package export

import (
	"cmp"

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

// checkVersion refuses what cannot be made as it was.
func (r Request) checkVersion(form imageForm) error {
	if v := r.version(); v == compat.CompatibilityVersion013 && form.compression.Type == compression.Zstd {
		return errdefs.NewUnsupportedCompatibilityFeatureError(v, r.Type+" exporter compression=zstd")
	}
	return nil
}
