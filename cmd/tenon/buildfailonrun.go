package main

import (
	"errors"

	"github.com/opencontainers/go-digest"
)

// errFailOnRun is why a step fails that would run.
var errFailOnRun = errors.New("it would run, and --fail-on-run is given")

// mayRun is asked before a step runs; nil without --fail-on-run.
func (f *buildFlags) mayRun() func(digest.Digest, string) error {
	if f.failOnRun == nil {
		return nil
	}
	return func(_ digest.Digest, name string) error {
		if f.failOnRun.names(name) {
			return errFailOnRun
		}
		return nil
	}
}
