package remotecache

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/engine/session"
)

// annotationSignature is where the manifest of a cache has its signature, in base64.
const annotationSignature = "tenon.cache.signature"

// signature signs the cache that a document is, as annotations of its manifest; nil if it is
// not to be signed.
func (f Form) signature(ctx context.Context, d *document) (map[string]string, error) {
	if f.Sign == nil {
		return nil, nil
	}
	statement, err := cachesign.Statement(d.configDesc, d.blobs)
	if err != nil {
		return nil, err
	}
	sig, err := f.Sign(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("signing the cache: %w", err)
	}
	return map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}, nil
}

// signer has the caller sign, with a key that the caller knows by a name.
func signer(all *session.Sessions, key string) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, statement []byte) ([]byte, error) {
		s, err := all.Of(ctx)
		if err != nil {
			return nil, err
		}
		signing, ok := s.(session.CacheSigner)
		if !ok {
			return nil, fmt.Errorf("the caller signs no caches: %w", session.ErrNotFound)
		}
		return signing.SignCache(ctx, key, statement)
	}
}

// Trust is whose caches are used. A nil *Trust uses all.
type Trust struct{ verifier *cachesign.Verifier }

// check checks the signature of a manifest. Ok says that it is a cache and has a config; an
// inline cache has none.
func (t *Trust) check(m *manifest, config ocispec.Descriptor, layers []ocispec.Descriptor, ok bool) error {
	if t == nil {
		return nil
	}
	if !ok {
		return errors.New("a cache in an image is not signed: it cannot be used with verify=")
	}
	encoded, ok := m.Annotations[annotationSignature]
	if !ok {
		return errors.New("the cache is not signed, and verify= asks for that")
	}
	sig, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("the signature of the cache: %w", err)
	}
	statement, err := cachesign.Statement(config, layers)
	if err != nil {
		return err
	}
	if err := t.verifier.Verify(statement, sig); err != nil {
		return fmt.Errorf("the signature of the cache is not by the key of verify=, or the cache was changed: %w", err)
	}
	return nil
}
