package boltstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/boltstore/boltpages"
)

// FuzzString: each string comes back, and its packed form says where it ends.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "x", string(digest.FromString("x")), strings.Repeat("A", 43), strings.Repeat("a", 64)} {
		f.Add(s, "tail")
	}
	f.Fuzz(func(t *testing.T, s, tail string) {
		r := reader{b: append(appendString(nil, s), tail...)}
		if got := r.string(); r.bad || got != s || string(r.b) != tail {
			t.Fatalf("got %q and %q", got, r.b)
		}
	})
}

// FuzzResult: each result comes back.
func FuzzResult(f *testing.F) {
	f.Add("result-1", int64(1700000000), uint32(123))
	f.Add("", int64(-62135596800), uint32(0))
	f.Fuzz(func(t *testing.T, id string, sec int64, nsec uint32) {
		want := solver.CacheResult{ID: id, CreatedAt: time.Unix(sec, int64(nsec%1e9))}
		got, err := decodeResults(appendResult(nil, want))
		if err != nil || len(got) != 1 || got[0].ID != id || !got[0].CreatedAt.Equal(want.CreatedAt) {
			t.Fatalf("got %v (%v), want %v", got, err, want)
		}
	})
}

// FuzzLink: each link comes back.
func FuzzLink(f *testing.F) {
	f.Add(0, 0, string(digest.FromString("x")), "")
	f.Add(-1, 1<<40, "", "selector")
	f.Fuzz(func(t *testing.T, in, out int, dgst, selector string) {
		want := solver.CacheInfoLink{
			Input: solver.Index(in), Output: solver.Index(out),
			Digest: digest.Digest(dgst), Selector: digest.Digest(selector),
		}
		got, err := decodeLinks(appendLink(nil, want))
		if err != nil || len(got) != 1 || unpackLink(got[0]) != want {
			t.Fatalf("got %v (%v), want %v", got, err, want)
		}
	})
}

// FuzzRecord: whatever is decoded as a record is written as one that says the
// same, and nothing that is read of it makes a decoder panic.
func FuzzRecord(f *testing.F) {
	link := appendLink(nil, solver.CacheInfoLink{Input: 1, Digest: digest.FromString("op")})
	for _, rec := range []record{
		{id: appendString(nil, "a")},
		{id: appendString(nil, string(digest.FromString("a"))), results: []solver.CacheResult{{ID: "r", CreatedAt: time.Unix(1, 2)}}, moreResults: true},
		{id: appendString(nil, strings.Repeat("A", 43)), backlinks: []backlink{{src: 7, link: link}, {src: 1 << 40, link: link}}, moreBacklinks: true},
	} {
		f.Add(rec.append(nil))
	}
	f.Add(link)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeLinks(b)
		_, _ = decodeResults(b)
		_, _, _, _ = takeLinkKey(b)
		_, _, _, _ = takeBacklinkKey(b)
		_, _, _ = takeHashNum(b)
		_, _, _ = takeNumHash(b)
		_, _ = boltpages.ParseMeta(b)
		rec, err := decodeRecord(b)
		if err != nil {
			return
		}
		once := rec.append(nil)
		again, err := decodeRecord(once)
		if err != nil {
			t.Fatalf("a record that was written is not one: %v", err)
		}
		if !bytes.Equal(again.append(nil), once) {
			t.Fatal("a record changes each time that it is written")
		}
		for _, bl := range rec.backlinks {
			unpackLink(bl.link)
		}
	})
}

// FuzzFile: any file opens or gives an error.
func FuzzFile(f *testing.F) {
	content, _ := smallFile(f)
	f.Add(content)
	f.Add(content[:len(content)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "cache.db")
		must(t, os.WriteFile(path, b, 0o600))
		err := CheckFile(path)
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) {
			t.Fatal(err)
		}
		useDamaged(t, path, err == nil)
	})
}
