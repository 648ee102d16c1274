package export

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/suggest"
)

// attrs are the attributes of one output while they are read: each reader takes
// its own away, and what is left in the end is unknown. The first fault is kept.
type attrs struct {
	typ   string // of the output, for errors
	left  map[string]string
	known []string // what was asked for, and is not refused
	err   error
}

func newAttrs(typ string, m map[string]string) *attrs {
	return &attrs{typ: typ, left: maps.Clone(m)}
}

// UnknownAttributeError says that an output of this type has no such attributes.
type UnknownAttributeError struct {
	Type  string
	Names []string
	Known []string // those that it has, beside dest and annotations
}

func (e *UnknownAttributeError) Error() string {
	var names []string
	for _, n := range e.Names {
		text := strconv.Quote(n)
		if like, ok := suggest.Search(n, e.Known, true); ok {
			text += fmt.Sprintf(" (did you mean %q?)", like)
		}
		names = append(names, text)
	}
	has := "it has none"
	if len(e.Known) > 0 {
		has = "it has " + strings.Join(e.Known, ", ")
	}
	return fmt.Sprintf("output type=%s: unknown attribute %s; %s", e.Type, strings.Join(names, ", "), has)
}

// Attributes are those of a built-in type, beside dest and annotations. Those that are
// refused by name are left out.
func Attributes(typ string) []string {
	if unknown, ok := errors.AsType[*UnknownAttributeError](checkAttrs(typ, map[string]string{"": ""})); ok {
		return unknown.Known
	}
	return nil
}

func (a *attrs) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("output type=%s: "+format, append([]any{a.typ}, args...)...)
	}
}

func (a *attrs) text(key string) (string, bool) {
	v, ok := a.left[key]
	delete(a.left, key)
	a.known = append(a.known, key)
	return v, ok
}

// boolean reads a truth value. A key without a value is true.
func (a *attrs) boolean(key string, otherwise bool) bool {
	v, ok := a.text(key)
	switch {
	case !ok:
		return otherwise
	case v == "":
		return true
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		a.fail("%s=%q: say true or false", key, v)
	}
	return b
}

// refuse refuses an attribute of any value.
func (a *attrs) refuse(key, why string) {
	if _, ok := a.text(key); ok {
		a.fail("%s is not supported: %s", key, why)
	}
	a.known = a.known[:len(a.known)-1]
}

// done names what nobody took.
func (a *attrs) done() error {
	if a.err != nil {
		return a.err
	}
	if len(a.left) == 0 {
		return nil
	}
	slices.Sort(a.known)
	return &UnknownAttributeError{Type: a.typ, Names: sortedKeys(a.left), Known: a.known}
}

// epoch is the time that nothing written may be later than. The zero value leaves
// it to the frontend's metadata; with given and a nil time there is none.
type epoch struct {
	given bool
	time  *time.Time
}

func (a *attrs) epoch() epoch {
	key := string(exptypes.OptKeySourceDateEpoch)
	v, ok := a.text(key)
	if !ok {
		return epoch{}
	}
	t, err := parseEpoch(v)
	if err != nil {
		a.fail("%s=%q: %w", key, v, err)
	}
	return epoch{given: true, time: t}
}

// of is the epoch for one platform: what the output says, else what the frontend
// says of the platform, else what it says of all.
func (e epoch) of(src *Source, p Platform) (*time.Time, error) {
	if e.given {
		return e.time, nil
	}
	v := src.meta(metaEpoch, p)
	t, err := parseEpoch(string(v))
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH %q of the frontend: %w", v, err)
	}
	return t, nil
}

// parseEpoch reads seconds since 1970, as of
// https://reproducible-builds.org/specs/source-date-epoch/. Nothing is no epoch.
func parseEpoch(s string) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, errors.New("not a whole number of seconds since 1970-01-01")
	}
	t := time.Unix(n, 0).UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return nil, errors.New("not a time of the years 0 to 9999")
	}
	return &t, nil
}

// meta is a value of the frontend's for a platform: its own, or that for all.
func (s *Source) meta(key string, p Platform) []byte {
	if p.ID != "" {
		if v, ok := s.Metadata[key+"/"+p.ID]; ok {
			return v
		}
	}
	return s.Metadata[key]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
