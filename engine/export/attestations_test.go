package export_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/result"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
)

const spdx = `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"https://example.com/x","dataLicense":"CC0-1.0",
"creationInfo":{"created":"2024-01-01T00:00:00Z","creators":["Tool: scanner"]},
"files":[{"fileName":"/added","SPDXID":"SPDXRef-1","checksums":[],"licenseConcluded":"NOASSERTION","copyrightText":""},{"fileName":"/nowhere","SPDXID":"SPDXRef-2","checksums":[],"licenseConcluded":"NOASSERTION","copyrightText":""}]}`

// attested is a result of which three things are said: what a function says, what is in
// the bundle of a scanner, and what is for images alone.
func attested(t *testing.T, st *store.Store, ref *store.Ref) *export.Source {
	scan := grow(t, st, nil, "scan", func(dir string) {
		write(t, dir, "out/sbom-base.spdx.json", bundled(intoto.PredicateSPDX, `{"of":"base"}`),
			"out/sbom.spdx.json", bundled(intoto.PredicateSPDX, spdx))
	})
	src := built(ref)
	for _, a := range []attestation{
		{
			Kind: gwpb.AttestationKind_InToto, Path: "provenance.json", InToto: result.InTotoAttestation{PredicateType: "https://slsa.dev/provenance/v1"},
			ContentFunc: func(context.Context) ([]byte, error) { return []byte(`{"how":"built"}`), nil },
		},
		{
			Kind: gwpb.AttestationKind_Bundle, Path: "/out", Ref: scan, InToto: result.InTotoAttestation{PredicateType: intoto.PredicateSPDX},
			Metadata: map[string][]byte{result.AttestationSBOMCore: []byte("sbom")},
		},
		{
			Kind: gwpb.AttestationKind_InToto, Path: "inline.json", InToto: result.InTotoAttestation{PredicateType: "https://example.com/inline"},
			Metadata:    map[string][]byte{result.AttestationInlineOnlyKey: []byte("true")},
			ContentFunc: func(context.Context) ([]byte, error) { return []byte(`{}`), nil },
		},
	} {
		src.Platforms[0].Attestations = append(src.Platforms[0].Attestations, export.Attestation{Attestation: a})
	}
	return src
}

// statement is an in-toto statement.
type statement struct {
	PredicateType string
	Subject       []struct {
		Name   string
		Digest map[string]string
	}
	Predicate json.RawMessage
}

type attestation = result.Attestation[*store.Ref]

func bundled(predicate, dt string) string {
	return `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"` + predicate + `","predicate":` + dt + `}`
}

// What is said of an image is a manifest beside it, which says whose it is: an artifact, or
// an image. SBOMs say which layers files are from.
func TestAttestationsOfImages(t *testing.T) {
	st := openStore(t)
	ref, _ := twoLayers(t, st)
	src := attested(t, st, ref)
	deps := export.Deps{Store: st}
	for attrs, want := range map[string][]string{
		"": {"spdx core", "provenance", "spdx base"},
		",oci-artifact=false,attestation-inline=true": {"spdx core", "provenance", "spdx base", "inline"},
	} {
		dir := t.TempDir()
		mustOutput(t, deps, src, "type=oci,name=example.com/a:1,tar=false,dest="+dir+attrs)
		read := func(d digest.Digest, to any) []byte {
			dt, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", d.Encoded()))
			check.OK(t, err)
			check.OK(t, json.Unmarshal(dt, to))
			return dt
		}
		var top, idx ocispec.Index
		dt, err := os.ReadFile(filepath.Join(dir, "index.json"))
		check.OK(t, err)
		check.OK(t, json.Unmarshal(dt, &top))
		read(top.Manifests[0].Digest, &idx)
		check.Equal(t, "manifests", len(idx.Manifests), 2)
		of, said := idx.Manifests[0], idx.Manifests[1]
		check.Equal(t, "platform", said.Platform.OS+"/"+said.Platform.Architecture, "unknown/unknown")
		check.Equal(t, "type", said.Annotations["vnd.docker.reference.type"], "attestation-manifest")
		check.Equal(t, "whose", said.Annotations["vnd.docker.reference.digest"], of.Digest.String())
		var m, img ocispec.Manifest
		read(said.Digest, &m)
		read(of.Digest, &img)
		if artifact := attrs == ""; artifact != (m.Subject != nil && m.Subject.Digest == of.Digest && m.ArtifactType != "" && m.Config.MediaType == ocispec.MediaTypeEmptyJSON) {
			t.Errorf("%q: manifest %+v", attrs, m)
		}
		var config ocispec.Image
		read(m.Config.Digest, &config)
		if attrs != "" {
			check.Equal(t, "layers of the config", len(config.RootFS.DiffIDs), len(m.Layers))
		}
		var got []string
		for _, l := range m.Layers {
			var s statement
			read(l.Digest, &s)
			check.Equal(t, "predicate", l.Annotations["in-toto.io/predicate-type"], s.PredicateType)
			check.Equal(t, "media type", l.MediaType, "application/vnd.in-toto+json")
			check.Equal(t, "subjects", len(s.Subject), 1)
			check.Equal(t, "subject", s.Subject[0].Name, "pkg:docker/example.com/a@1?platform=linux%2Famd64")
			check.Equal(t, "subject's digest", s.Subject[0].Digest["sha256"], of.Digest.Encoded())
			what := map[string]string{intoto.PredicateSPDX: "spdx", "https://slsa.dev/provenance/v1": "provenance", "https://example.com/inline": "inline"}[s.PredicateType]
			if what == "spdx" && strings.Contains(string(s.Predicate), "spdxVersion") {
				what += " core"
				check.Equal(t, "layer of a file", strings.Contains(string(s.Predicate), "layerID: "+img.Layers[1].Digest.String()), true)
				check.Equal(t, "comments", strings.Count(string(s.Predicate), "layerID"), 1)
			} else if what == "spdx" {
				what += " base"
			}
			got = append(got, what)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", attrs, got, want)
		}
	}
	_, _, err := output(t, deps, src, "type=oci,oci-mediatypes=false,dest="+filepath.Join(t.TempDir(), "x"))
	check.Says(t, err, "attestations need OCI media types")
}

// In directories and archives it is files, about the files of the result.
func TestAttestationsOfTrees(t *testing.T) {
	st := openStore(t)
	src := attested(t, st, grow(t, st, nil, "tree", func(dir string) { write(t, dir, "f", "text") }))
	src.MultiPlatform = true
	for attrs, want := range map[string][]string{
		"":                       {"linux_amd64/f", "linux_amd64/provenance.json", "linux_amd64/sbom-base.spdx.json", "linux_amd64/sbom.spdx.json"},
		",attestation-prefix=a-": {"linux_amd64/a-provenance.json", "linux_amd64/a-sbom-base.spdx.json", "linux_amd64/a-sbom.spdx.json", "linux_amd64/f"},
		",platform-split=false":  {"f", "provenance.linux_amd64.json", "sbom-base.spdx.linux_amd64.json", "sbom.spdx.linux_amd64.json"},
	} {
		dir := t.TempDir()
		mustOutput(t, export.Deps{Store: st}, src, "type=local,dest="+dir+attrs)
		got, err := filepath.Glob(dir + "/*")
		check.OK(t, err)
		if len(got) == 1 {
			got, err = filepath.Glob(dir + "/*/*")
			check.OK(t, err)
		}
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], dir+"/")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", attrs, got, want)
		}
		dt, err := os.ReadFile(filepath.Join(dir, want[1]))
		check.OK(t, err)
		var s statement
		check.OK(t, json.Unmarshal(dt, &s))
		check.Equal(t, "subjects", len(s.Subject), 1)
		check.Equal(t, "subject", s.Subject[0].Name, "f")
		check.Equal(t, "digest", s.Subject[0].Digest["sha256"], digest.FromString("text").Encoded())
	}
}

// A frontend cannot lie about how something was built, nor have a file of this machine
// read.
func TestBadAttestations(t *testing.T) {
	st := openStore(t)
	tree := grow(t, st, nil, "tree", func(dir string) {
		write(t, dir, "no/json", "x", "two/json", "{} {}", "other/json", bundled("https://example.com", "{}"), "how/json", bundled("https://slsa.dev/provenance/v1", "{}"))
		must(t, os.Mkdir(filepath.Join(dir, "fifo"), 0o755))
		must(t, unix.Mkfifo(filepath.Join(dir, "fifo/p"), 0o644))
		must(t, os.Mkdir(filepath.Join(dir, "link"), 0o755))
		must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link/l")))
	})
	bundle := func(path, predicate string) attestation {
		return attestation{Kind: gwpb.AttestationKind_Bundle, Path: path, Ref: tree, InToto: result.InTotoAttestation{PredicateType: predicate}}
	}
	file := func(path string, a attestation) attestation {
		a.Kind, a.Path, a.Ref = gwpb.AttestationKind_InToto, path, tree
		return a
	}
	for says, a := range map[string]attestation{
		"not an in-toto statement":  bundle("no", ""),
		"more than one":             bundle("two", ""),
		"the bundle about":          bundle("other", intoto.PredicateSPDX),
		"may not say how":           bundle("how", ""),
		"fifo/p: not a regular":     bundle("fifo", ""),
		"link/l: no such file":      bundle("link", ""),
		"none: no such file":        bundle("none", ""),
		"../../etc/passwd: no such": file("../../etc/passwd", attestation{}),
		"nothing has what it says":  {Kind: gwpb.AttestationKind_InToto, Path: "x"},
		`has "bad" for a digest`: file("other/json", attestation{InToto: result.InTotoAttestation{
			Subjects: []result.InTotoSubject{{Kind: gwpb.InTotoSubjectKind_Raw, Digest: []digest.Digest{"bad"}}},
		}}),
		"is a bundle or has no name": {Kind: gwpb.AttestationKind_InToto, ContentFunc: func(context.Context) ([]byte, error) { return nil, nil }},
	} {
		for _, o := range []string{"type=oci", "type=tar"} {
			src := built(nil)
			src.Platforms[0].Attestations = []export.Attestation{{Attestation: a}}
			_, _, err := output(t, export.Deps{Store: st}, src, o)
			if err == nil {
				t.Errorf("%s: no error", says)
				continue
			}
			check.Says(t, err, says)
		}
	}
}
