package store

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
)

// simple is a filter in docker's terms.
var simple = regexp.MustCompile(`^([a-z]+)=([^=~].*)$`)

// PruneFilters reads filters as they are given to commands, of which "until=24h" keeps
// what was used since so long: docker's terms for KeepDuration.
func PruneFilters(list []string) (rest []string, keep time.Duration, err error) {
	for _, f := range list {
		text, ok := strings.CutPrefix(f, "until=")
		if !ok {
			rest = append(rest, f)
			continue
		}
		if keep != 0 {
			return nil, 0, fmt.Errorf("filter %q: there is another until already", f)
		}
		if keep, err = ParseUntil(text, time.Now()); err != nil {
			return nil, 0, fmt.Errorf("filter %q: %w", f, err)
		}
	}
	return rest, keep, CheckFilters(rest)
}

// ParseUntil reads docker's "until": a duration, or a time in the past, which becomes
// how long ago it was.
func ParseUntil(text string, now time.Time) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil && t.Before(now) {
			return now.Sub(t), nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 && time.Unix(n, 0).Before(now) {
		return now.Sub(time.Unix(n, 0)), nil
	}
	return 0, fmt.Errorf("say how long, as in 24h, or since when, as in 2026-01-31")
}

// UsageFilter makes a filter of conditions on what Du lists; of none all match.
//
// Each is docker's KEY=VALUE, or a filter of containerd's. The keys are BuildKit's: id
// (of which the beginning will do), parents, type, description, and, true or false,
// inuse, mutable, immutable, shared, private. Of one key several values are
// alternatives; all keys must hold. Filters of containerd's, such as
// "type==regular,shared" and "description~=npm", are alternatives to one another; another key
// in one is one that no record has, as with buildkitd: see CheckFilters.
func UsageFilter(list []string) (func(UsageInfo) bool, error) {
	for _, f := range list {
		if m := simple.FindStringSubmatch(f); m != nil && !slices.Contains(filterKeys, m[1]) {
			return nil, noKey(f, m[1])
		}
	}
	all, err := parse(list)
	if err != nil {
		return nil, err
	}
	return func(u UsageInfo) bool { return all.Match(fields(u)) }, nil
}

// CheckFilters refuses filters that UsageFilter does not take, and those that ask for what no
// record has: in what a person writes they are mistakes.
func CheckFilters(list []string) error {
	for _, text := range list {
		all, err := parse([]string{text})
		if err != nil {
			return err
		}
		for _, path := range paths(all) {
			if !slices.Contains(filterKeys, path) {
				return noKey(text, path)
			}
		}
	}
	return nil
}

func noKey(filter, key string) error {
	return fmt.Errorf("filter %q: there is no key %q: there are %s", filter, key, strings.Join(filterKeys, ", "))
}

// paths are what a filter asks for.
func paths(f filters.Filter) (out []string) {
	var parts []filters.Filter
	switch f := f.(type) {
	case filters.All:
		parts = f
	case filters.Any:
		parts = f
	default:
		f.Match(filters.AdapterFunc(func(path []string) (string, bool) {
			out = append(out, strings.Join(path, "."))
			return "", false
		}))
	}
	for _, part := range parts {
		out = append(out, paths(part)...)
	}
	return out
}

// filterKeys are the keys of fields.
var filterKeys = []string{"id", "parents", "type", "description", "inuse", "mutable", "immutable", "shared", "private"}

// grouped are filters in containerd's words: one of each group must hold.
func grouped(list []string) [][]string {
	var keys []string
	by := map[string][]string{} // "" has those of containerd's
	for _, f := range list {
		key, as := "", f
		if m := simple.FindStringSubmatch(f); m != nil {
			key, as = m[1], condition(m[1], m[2])
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		by[key] = append(by[key], as)
	}
	var out [][]string
	for _, key := range keys {
		out = append(out, by[key])
	}
	return out
}

func parse(list []string) (filters.Filter, error) {
	var all filters.All
	for _, group := range grouped(list) {
		one, err := filters.ParseAll(group...)
		if err != nil {
			return nil, fmt.Errorf("filter %q: %w", list, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// ForBuildkitd are filters in the words of buildkitd, which has alternatives alone.
func ForBuildkitd(list []string) (out []string) {
	for _, group := range grouped(list) {
		if out == nil {
			out = group
			continue
		}
		var both []string
		for _, a := range out {
			for _, b := range group {
				both = append(both, a+","+b)
			}
		}
		out = both
	}
	return out
}

// opposite are keys that hold where the other does not. For buildkitd a key is there or not, and
// never equals "true".
var opposite = map[string]string{"mutable": "immutable", "immutable": "mutable", "shared": "private", "private": "shared"}

// condition is a filter of docker's in containerd's words.
func condition(key, value string) string {
	switch key {
	case "id":
		return "id~=" + strconv.Quote("^"+regexp.QuoteMeta(value))
	case "inuse", "mutable", "immutable", "shared", "private":
		if yes, err := strconv.ParseBool(value); err == nil {
			if yes {
				return key
			}
			if other, ok := opposite[key]; ok {
				return other
			}
			return key + "!=true"
		}
	}
	return key + "==" + strconv.Quote(value)
}

// fields are what a filter asks about. One of a boolean is there only if it is true, so
// that both "shared" and "shared==true" can be asked.
func fields(u UsageInfo) filters.Adaptor {
	flag := func(b bool) (string, bool) { return strconv.FormatBool(b), b }
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) == 0 {
			return "", false
		}
		switch path[0] {
		case "id":
			return u.ID, u.ID != ""
		case "parents":
			return strings.Join(u.Parents, ";"), len(u.Parents) > 0
		case "type":
			return u.Type, u.Type != ""
		case "description":
			return u.Description, u.Description != ""
		case "inuse":
			return flag(u.InUse)
		case "mutable":
			return flag(u.Mutable)
		case "immutable":
			return flag(!u.Mutable)
		case "shared":
			return flag(u.Shared)
		case "private":
			return flag(!u.Shared)
		}
		return "", false
	})
}
