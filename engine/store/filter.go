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
	_, err = UsageFilter(rest)
	return rest, keep, err
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
// "type==regular,shared" and "description~=npm", are alternatives to one another.
func UsageFilter(list []string) (func(UsageInfo) bool, error) {
	for _, f := range list {
		if err := knownKeys(f); err != nil {
			return nil, err
		}
	}
	f, err := filters.ParseAll(expand(list)...)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", list, err)
	}
	return func(u UsageInfo) bool { return f.Match(fields(u)) }, nil
}

// knownKeys refuses a filter that asks for what no record has: it would match none.
func knownKeys(filter string) error {
	f, err := filters.ParseAll(expand([]string{filter})...)
	if err != nil {
		return fmt.Errorf("filter %q: %w", filter, err)
	}
	f.Match(filters.AdapterFunc(func(path []string) (string, bool) {
		if key := strings.Join(path, "."); !slices.Contains(filterKeys, key) {
			err = fmt.Errorf("filter %q: there is no key %q: there are %s", filter, key, strings.Join(filterKeys, ", "))
		}
		return "", false
	}))
	return err
}

// filterKeys are the keys of fields.
var filterKeys = []string{"id", "parents", "type", "description", "inuse", "mutable", "immutable", "shared", "private"}

// expand writes filters as containerd has them: alternatives, of which each is a list
// of conditions.
func expand(list []string) []string {
	var keys []string
	by := map[string][]string{} // alternatives, by key; "" has those of containerd's
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
	var out []string
	for _, key := range keys {
		if out == nil {
			out = by[key]
			continue
		}
		var both []string
		for _, a := range out {
			for _, b := range by[key] {
				both = append(both, a+","+b)
			}
		}
		out = both
	}
	return out
}

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
