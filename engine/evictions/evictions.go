// Package evictions keeps what became of results that caches had: when they were removed on
// purpose, by what, and how much room was needed. So it can be told later why a step ran again.
//
// It is one file of JSON, a list with the latest first, and bounded: the oldest is forgotten
// first. The file is replaced as a whole and not synced: one that a crash has damaged is as if
// it were not there.
package evictions

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/internal/regular"
)

// The bounds of a file: how many evictions, keys of all of them, and bytes of a name and of all.
const (
	maxEvictions = 200
	maxKeys      = 30_000
	maxBy        = 512
	maxFile      = 2 << 20
)

const version = 1

// Name is what the file is called in the folder of a history.
const Name = "evicted"

// Eviction is one time at which results were removed.
type Eviction struct {
	At time.Time `json:"at"`
	// By is the command or the rule.
	By string `json:"by"`
	// Needed is how many bytes were to be freed; 0 if it was not for room.
	Needed int64 `json:"needed,omitempty"`
	// Keys are those that led to the results, as Key makes them.
	Keys []string `json:"keys"`
}

type list struct {
	Version   int        `json:"version"`
	Evictions []Eviction `json:"evictions"`
}

// Key is what is kept of the ID of a cache's key.
func Key(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Read returns what is kept in a file, the latest first. What cannot be read is nothing.
func Read(path string) []Eviction {
	dt, err := regular.Read(path, maxFile)
	if err != nil {
		return nil
	}
	l := list{}
	if json.Unmarshal(dt, &l) != nil || l.Version != version {
		return nil
	}
	return l.Evictions
}

// Add adds an eviction to a file. It is for one caller at a time. In a directory that is not
// there nothing is kept.
func Add(path string, e Eviction) error {
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	e.By = strings.ToValidUTF8(e.By[:min(len(e.By), maxBy)], "")
	l := list{Version: version}
	left := maxKeys
	for _, e := range append([]Eviction{e}, Read(path)...) {
		if left == 0 || len(l.Evictions) == maxEvictions {
			break
		}
		e.Keys = e.Keys[:min(len(e.Keys), left)]
		left -= len(e.Keys)
		l.Evictions = append(l.Evictions, e)
	}
	dt, err := json.Marshal(l)
	if err == nil {
		err = regular.Replace(path, dt)
	}
	if err != nil {
		return fmt.Errorf("what was removed of the cache cannot be noted: %w", err)
	}
	return nil
}

// Find returns the last eviction of one of some keys, by their IDs, between two times; nil if
// there was none.
func Find(all []Eviction, ids []string, after, before time.Time) *Eviction {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = Key(id)
	}
	for i := range all {
		e := &all[i]
		if e.At.After(after) && !e.At.After(before) && slices.ContainsFunc(e.Keys, func(k string) bool { return slices.Contains(keys, k) }) {
			return e
		}
	}
	return nil
}
