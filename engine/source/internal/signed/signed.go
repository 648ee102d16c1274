// Package signed checks signatures: OpenPGP's of files, and those of git's commits and tags,
// which may be OpenPGP's or SSH's. What it reads comes from outside: a library that panics
// over it has found a bad signature.
package signed

import (
	"errors"
	"fmt"
	"io"

	"github.com/moby/buildkit/util/gitutil/gitobject"
	"github.com/moby/buildkit/util/gitutil/gitsign"
	"github.com/moby/buildkit/util/pgpsign"
)

// maxKeys and maxSignature are how many bytes keys and a signature may have: a ring of keys
// of many people, and far more than one signature.
const (
	maxKeys      = 4 << 20
	maxSignature = 1 << 20
)

// CheckKeys says whether keys and a signature are of a size that is looked at. A signature
// that is not there yet is "".
func CheckKeys(keys, signature string) error {
	if len(keys) > maxKeys {
		return fmt.Errorf("the public keys have %d bytes: they can have %d", len(keys), maxKeys)
	}
	if len(signature) > maxSignature {
		return fmt.Errorf("the signature has %d bytes: it can have %d", len(signature), maxSignature)
	}
	return nil
}

// File says whether a file is signed with one of the keys. Keys and signature are armoured.
func File(file io.Reader, signature, keys string) (err error) {
	defer recovered(&err)
	if err := pgpsign.VerifyArmoredDetachedSignature(file, []byte(signature), []byte(keys), nil); err != nil {
		return fmt.Errorf("failed to verify pgp signature: %w", err)
	}
	return nil
}

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the signature or the keys cannot be read: %v", r)
	}
}

// Object is a commit or a tag, as git stores it.
type Object struct{ parsed *gitobject.GitObject }

// Read reads an object, and checks that it has the name that it goes by.
func Read(raw []byte, name string) (_ Object, err error) {
	defer recovered(&err)
	o, err := gitobject.Parse(raw)
	if err != nil {
		return Object{}, fmt.Errorf("git object %s: %w", name, err)
	}
	if err := o.VerifyChecksum(name); err != nil {
		return Object{}, fmt.Errorf("git object %s: %w", name, err)
	}
	return Object{o}, nil
}

// Signed says whether it has a signature at all.
func (o Object) Signed() bool { return o.parsed != nil && o.parsed.Signature != "" }

// Verify says whether it is signed with one of the keys: armoured ones of OpenPGP, or one of
// SSH. A key of OpenPGP that has expired since is refused if rejectExpired is set.
func (o Object) Verify(keys string, rejectExpired bool) (err error) {
	defer recovered(&err)
	if !o.Signed() {
		return errors.New("git object is not signed")
	}
	if err := CheckKeys(keys, o.parsed.Signature); err != nil {
		return err
	}
	return gitsign.VerifySignature(o.parsed, []byte(keys), &pgpsign.VerifyPolicy{RejectExpiredKeys: rejectExpired})
}
