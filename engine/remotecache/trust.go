package remotecache

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	types "github.com/moby/buildkit/cache/remotecache/v1/types"
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

// signer has the caller sign, with a key that the caller knows by a name; nil: there is to be
// no signature.
func (a *attrs) signer(all *session.Sessions) func(context.Context, []byte) ([]byte, error) {
	key := a.Attrs["sign"]
	if key == "" {
		return nil
	}
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

// signConfig adds a signature to a config that describes its layers itself.
func signConfig(ctx context.Context, config []byte, sign func(context.Context, []byte) ([]byte, error)) ([]byte, error) {
	if sign == nil {
		return config, nil
	}
	c, statement, err := unsigned(config)
	if err != nil {
		return nil, err
	}
	if c.Signature, err = sign(ctx, statement); err != nil {
		return nil, fmt.Errorf("signing the cache: %w", err)
	}
	return json.Marshal(c)
}

// unsigned is a config without its signature, and the statement that is signed.
func unsigned(config []byte) (c ownConfig, statement []byte, err error) {
	if err := unmarshal(config, &c); err != nil {
		return c, nil, fmt.Errorf("the cache's config: %w", err)
	}
	c.Signature = nil
	dt, err := json.Marshal(c)
	if err != nil {
		return c, nil, err
	}
	statement, err = cachesign.Statement(describe(types.CacheConfigMediaTypeV0, dt), nil)
	return c, statement, err
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
	sig, err := base64.StdEncoding.DecodeString(m.Annotations[annotationSignature])
	if err != nil {
		return fmt.Errorf("the signature of the cache: %w", err)
	}
	statement, err := cachesign.Statement(config, layers)
	if err != nil {
		return err
	}
	return t.verify(statement, sig)
}

// checkConfig checks the signature of a config that describes its layers itself.
func (t *Trust) checkConfig(config []byte) error {
	if t == nil {
		return nil
	}
	var c ownConfig
	if err := unmarshal(config, &c); err != nil {
		return fmt.Errorf("the cache's config: %w", err)
	}
	_, statement, err := unsigned(config)
	if err != nil {
		return err
	}
	return t.verify(statement, c.Signature)
}

func (t *Trust) verify(statement, sig []byte) error {
	if len(sig) == 0 {
		return errors.New("the cache is not signed, and verify= asks for that")
	}
	if err := t.verifier.Verify(statement, sig); err != nil {
		return fmt.Errorf("the signature of the cache is not by the key of verify=, or the cache was changed: %w", err)
	}
	return nil
}
