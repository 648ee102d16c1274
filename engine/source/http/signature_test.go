package http_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// signer is somebody who signs: with an armoured public key.
type signer struct {
	entity *openpgp.Entity
	key    string
}

func newSigner(t *testing.T, name string) signer {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.com", nil)
	check.OK(t, err)
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	check.OK(t, err)
	check.OK(t, e.Serialize(w))
	check.OK(t, w.Close())
	return signer{e, key.String()}
}

func (s signer) sign(t *testing.T, text string) string {
	t.Helper()
	var sig bytes.Buffer
	check.OK(t, openpgp.ArmoredDetachSign(&sig, s.entity, strings.NewReader(text), nil))
	return sig.String()
}

// A file that is to be signed is, by one of the keys, or it is an error: also if it is in
// the store, and if it has a checksum.
func TestSignature(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "hello")
	src := newSource(t, e)
	ann, bob := newSigner(t, "ann"), newSigner(t, "bob")
	good, other := ann.sign(t, "hello"), ann.sign(t, "other")
	sum := digest.FromString("hello").String()
	for _, c := range []struct{ signature, keys, says string }{
		{good, ann.key, ""},
		{good, bob.key, "failed to verify pgp signature"},
		{good, bob.key + "\n" + ann.key, ""},
		{other, ann.key, "failed to verify pgp signature"},
		{"no signature", ann.key, "failed to verify pgp signature"},
		{good, "no key", "failed to verify pgp signature"},
	} {
		for _, checksum := range []string{sum, ""} {
			attrs := []string{pb.AttrHTTPSignatureVerify, c.signature, pb.AttrHTTPSignatureVerifyPubKey, c.keys}
			if checksum != "" {
				attrs = append(attrs, pb.AttrHTTPChecksum, checksum)
			}
			o := op(srv.URL+"/f", attrs...)
			in, err := src.Parse(o, nil)
			check.OK(t, err)
			ctx := e.Build(t, local.Options{})
			_, _, err = in.CacheKey(ctx, 0)
			_, asked := src.ResolveMetadata(ctx, o, sourceresolver.Opt{})
			if c.says == "" {
				check.OK(t, err)
				check.OK(t, asked)
				fetch(t, e, src, o, "f", "hello")
				continue
			}
			check.Says(t, err, c.says)
			check.Says(t, err, srv.URL)
			check.Says(t, asked, c.says)
		}
	}
}
