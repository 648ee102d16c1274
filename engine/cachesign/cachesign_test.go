package cachesign_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/internal/check"
)

func desc(of string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: "m", Digest: digest.FromString(of), Size: int64(len(of)), Annotations: map[string]string{"a": of}}
}

func pair(t *testing.T, key crypto.Signer) (private, public []byte) {
	t.Helper()
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	check.OK(t, err)
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	check.OK(t, err)
	return priv, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
}

func none() ([]byte, error) { return nil, errors.New("there is no password") }

// A signature holds for the statement and the key that it is of, and is always the same.
func TestSign(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.OK(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check.OK(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	check.OK(t, err)
	for name, key := range map[string]crypto.Signer{"ECDSA": ec, "Ed25519": ed, "RSA": rs} {
		t.Run(name, func(t *testing.T) {
			priv, pub := pair(t, key)
			k, err := cachesign.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv}), none)
			check.OK(t, err)
			said, err := cachesign.Statement(desc("config"), []ocispec.Descriptor{desc("one"), desc("two")})
			check.OK(t, err)
			sig, err := k.Sign(said)
			check.OK(t, err)
			again, err := k.Sign(said)
			check.OK(t, err)
			check.Equal(t, "again", string(again), string(sig))
			v, err := cachesign.ParseVerifier(pub)
			check.OK(t, err)
			check.OK(t, v.Verify(said, sig))
			for what, layers := range map[string][]ocispec.Descriptor{
				"order": {desc("two"), desc("one")}, "fewer": {desc("one")},
				"annotation": {desc("one"), {MediaType: "m", Digest: digest.FromString("two"), Size: 3}},
			} {
				other, err := cachesign.Statement(desc("config"), layers)
				check.OK(t, err)
				if v.Verify(other, sig) == nil {
					t.Errorf("%s: the signature of another statement holds", what)
				}
			}
			if v.Verify(said, sig[1:]) == nil || v.Verify(said, nil) == nil {
				t.Error("half a signature holds")
			}
			for _, foreign := range []string{"", "{}", `{"critical":{"type":"cosign container image signature"}}`, string(said) + " "} {
				_, err := k.Sign([]byte(foreign))
				check.Says(t, err, "")
			}
		})
	}
}

// A key as cosign keeps it needs its password.
func TestEncryptedKey(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.OK(t, err)
	priv, _ := pair(t, ec)
	dt, err := encrypted.Encrypt(priv, []byte("word"))
	check.OK(t, err)
	for _, kind := range []string{"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"} {
		file := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: dt})
		_, err = cachesign.ParseKey(file, func() ([]byte, error) { return []byte("word"), nil })
		check.OK(t, err)
		_, err = cachesign.ParseKey(file, func() ([]byte, error) { return []byte("other"), nil })
		check.Says(t, err, "no private key that can be read")
		_, err = cachesign.ParseKey(file, none)
		check.Says(t, err, "there is no password")
	}
	_, err = cachesign.ParseKey([]byte("no key"), none)
	check.Says(t, err, "no private key")
	_, err = cachesign.ParseVerifier([]byte("no key"))
	check.Says(t, err, "no public key")
}
