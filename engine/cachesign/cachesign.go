// Package cachesign signs caches, and checks their signatures. Keys are those of sigstore, as
// cosign generate-key-pair makes them, and others in PEM: ECDSA, Ed25519 and RSA.
//
// What is signed is a statement that names the cache's config and its layers, with all that a
// build takes from their descriptors. Equal caches have equal signatures.
package cachesign

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// statementType begins each statement, so that no signature is of anything else.
const statementType = "application/vnd.tenon.cache.statement.v1+json"

// statement is what is signed, as JSON with its fields in this order.
type statement struct {
	Type   string               `json:"type"`
	Config ocispec.Descriptor   `json:"config"`
	Layers []ocispec.Descriptor `json:"layers"`
}

// Statement says what a cache is.
func Statement(config ocispec.Descriptor, layers []ocispec.Descriptor) ([]byte, error) {
	s := statement{Type: statementType, Config: plain(config), Layers: make([]ocispec.Descriptor, len(layers))}
	for i, l := range layers {
		s.Layers[i] = plain(l)
	}
	return json.Marshal(s)
}

// plain are the fields of a descriptor that a cache is read by.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: d.Annotations}
}

// Key signs.
type Key struct{ signer crypto.Signer }

// ParseKey reads a private key in PEM. Password is asked for if the key is encrypted.
func ParseKey(pem []byte, password func() ([]byte, error)) (*Key, error) {
	k, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, func(bool) ([]byte, error) { return password() })
	if err != nil {
		return nil, fmt.Errorf("it is no private key that can be read: %w", err)
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of the type %T cannot sign", k)
	}
	return &Key{s}, nil
}

// Sign signs a statement, and nothing else.
func (k *Key) Sign(dt []byte) ([]byte, error) {
	var s statement
	if err := json.Unmarshal(dt, &s); err != nil || s.Type != statementType {
		return nil, errors.New("only caches are signed with this key")
	}
	if canonical, err := Statement(s.Config, s.Layers); err != nil || !bytes.Equal(canonical, dt) {
		return nil, errors.New("what is to be signed is no statement about a cache")
	}
	if _, ok := k.signer.Public().(ed25519.PublicKey); ok {
		return k.signer.Sign(nil, dt, crypto.Hash(0))
	}
	sum := sha256.Sum256(dt)
	return k.signer.Sign(nil, sum[:], crypto.SHA256) // without chance: ECDSA follows RFC 6979
}

// Verifier checks signatures.
type Verifier struct{ key signature.Verifier }

// ParseVerifier reads a public key in PEM.
func ParseVerifier(pem []byte) (*Verifier, error) {
	k, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		return nil, fmt.Errorf("it is no public key that can be read: %w", err)
	}
	v, err := signature.LoadVerifier(k, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return &Verifier{v}, nil
}

// Verify checks a signature of a statement.
func (v *Verifier) Verify(dt, sig []byte) error {
	return v.key.VerifySignature(bytes.NewReader(sig), bytes.NewReader(dt))
}
