package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/store"
)

// Filters are docker's and containerd's, and are put together as docker does.
func TestUsageFilter(t *testing.T) {
	u := store.UsageInfo{ID: "abcdef", Type: store.TypeCacheMount, Description: "cache mount npm, mine", Mutable: true}
	for _, c := range []struct {
		list []string
		want bool
	}{
		{nil, true},
		{[]string{"id=abc"}, true},
		{[]string{"id=bcd"}, false},
		{[]string{"id=a.c"}, false},
		{[]string{"type=exec.cachemount"}, true},
		{[]string{"type=regular"}, false},
		{[]string{"type=regular", "type=exec.cachemount"}, true},
		{[]string{"type=exec.cachemount", "id=x"}, false},
		{[]string{"type=exec.cachemount", "id=x", "id=a"}, true},
		{[]string{"description=cache mount npm, mine"}, true},
		{[]string{"mutable=true"}, true},
		{[]string{"mutable=false"}, false},
		{[]string{"shared=false"}, true},
		{[]string{"inuse=1"}, false},
		{[]string{"description~=npm"}, true},
		{[]string{"type==regular", "mutable"}, true},
		{[]string{"type==regular,mutable"}, false},
		{[]string{"description~=npm", "type=regular"}, false},
		{[]string{"foo==bar"}, false}, // as with buildkitd: no record has it
		{[]string{"foo"}, false},
		{[]string{"foo!=bar"}, true},
		{[]string{"foo==bar", "mutable"}, true},
		{[]string{"type.more==exec.cachemount"}, true},
	} {
		match, err := store.UsageFilter(c.list)
		noError(t, err)
		if got := match(u); got != c.want {
			t.Errorf("%q: %v", c.list, got)
		}
	}
	for _, list := range [][]string{{"foo=bar"}, {"foo!=bar"}, {"type==regular,foo==bar"}, {"mutable", "type==regular,foo"}, {"type==="}, {"until=x"}, {"until=24h", "until=1h"}, {"until=-1h"}, {"until=3000-01-01"}} {
		if _, _, err := store.PruneFilters(list); err == nil {
			t.Errorf("%q is taken", list)
		}
	}
	if _, err := store.UsageFilter([]string{"until=24h"}); err == nil {
		t.Error("a filter of docker's that is no condition is taken")
	}
	rest, keep, err := store.PruneFilters([]string{"type=regular", "until=24h"})
	if err != nil || keep != 24*time.Hour || len(rest) != 1 {
		t.Errorf("%q, %s, %v", rest, keep, err)
	}
}

// The filters of very many keys and values take no more to look at than there are.
func TestManyFilters(t *testing.T) {
	var list []string
	for _, key := range []string{"id", "parents", "type", "description", "inuse", "mutable", "immutable", "shared", "private"} {
		for n := range 100 {
			list = append(list, fmt.Sprintf("%s=%d", key, n))
		}
	}
	match, err := store.UsageFilter(list)
	noError(t, err)
	if match(store.UsageInfo{ID: "1"}) {
		t.Error("it matches")
	}
}

// What buildkitd is told is in its words, in which filters are alternatives.
func TestForBuildkitd(t *testing.T) {
	got := store.ForBuildkitd([]string{"type=regular", "shared=false", "type=source.local", "mutable=false"})
	want := []string{`type=="regular",private,immutable`, `type=="source.local",private,immutable`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// An image that loses its last name stays without one, until it is pruned or named.
func TestUntagged(t *testing.T) {
	s := newStore(t, "")
	names := func() map[string]bool {
		t.Helper()
		list, err := s.Images().List(t.Context())
		noError(t, err)
		out := map[string]bool{}
		for _, img := range list {
			out[img.Name] = true
		}
		return out
	}
	a, b := named(t, s, nil, "a", 1), named(t, s, nil, "b", 1)
	first := putImage(t, s, "docker.io/library/app:1", a)
	putImage(t, s, "docker.io/library/app:2", a)
	putImage(t, s, "docker.io/library/app:2", b) // the first has a name still
	if got := names(); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	putImage(t, s, "docker.io/library/app:1", b)
	if got := names(); len(got) != 3 || !got[store.UntaggedName(first.Digest)] {
		t.Errorf("got %v", got)
	}
	putImage(t, s, "docker.io/library/back:1", a)
	if got := names(); len(got) != 3 || got[store.UntaggedName(first.Digest)] {
		t.Errorf("got %v", got)
	}
	putImage(t, s, "docker.io/library/back:1", b)
	release(t, a, b)
	if got := pruned(t, s, store.PruneOptions{}); len(got) != 2 {
		t.Errorf("pruned %v", got)
	}
	if got := names(); len(got) != 3 {
		t.Errorf("got %v", got)
	}
	for name, want := range map[string]bool{
		"untagged@sha256:0000000000000000000000000000000000000000000000000000000000000000":              true,
		"docker.io/library/app@sha256:0000000000000000000000000000000000000000000000000000000000000000": false,
		"untagged@sha256:00": false, "docker.io/library/app:1": false, "": false,
	} {
		if store.IsUntagged(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
