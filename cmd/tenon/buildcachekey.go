package main

import (
	"errors"
	"fmt"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/internal/regular"
)

// maxKey is how many bytes the file of a key may have.
const maxKey = 64 << 10

// withVerifier puts the public key of verify=FILE in the place of the file's name.
func withVerifier(o remotecache.Option) error {
	if _, ok := o.Attrs["sign"]; ok {
		return errors.New("sign= is for --cache-to: a cache that is read is checked with verify=")
	}
	file, ok := o.Attrs["verify"]
	if !ok {
		return nil
	}
	dt, err := regular.Read(file, maxKey)
	if err != nil {
		return fmt.Errorf("verify=: %w", err)
	}
	if _, err := cachesign.ParseVerifier(dt); err != nil {
		return fmt.Errorf("verify=%s: %w", file, err)
	}
	o.Attrs["verify"] = string(dt)
	return nil
}

// withKey reads the private key of sign=FILE, which stays in this process: the build knows it
// by the file's name.
func (c *cli) withKey(o remotecache.Option, keys map[string]*cachesign.Key) error {
	if _, ok := o.Attrs["verify"]; ok {
		return errors.New("verify= is for --cache-from: a cache that is written is signed with sign=")
	}
	file, ok := o.Attrs["sign"]
	if !ok {
		return nil
	}
	dt, err := regular.Read(file, maxKey)
	if err != nil {
		return fmt.Errorf("sign=: %w", err)
	}
	keys[file], err = cachesign.ParseKey(dt, func() ([]byte, error) {
		if password, ok := c.env("COSIGN_PASSWORD"); ok {
			return []byte(password), nil
		}
		return nil, errors.New("it is encrypted: say its password in the environment variable COSIGN_PASSWORD")
	})
	if err != nil {
		return fmt.Errorf("sign=%s: %w", file, err)
	}
	return nil
}
