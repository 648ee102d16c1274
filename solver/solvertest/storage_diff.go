package solvertest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// list is what a walk visits, sorted.
func list(walk func(func(string) error) error) (out []string, err error) {
	err = walk(func(s string) error {
		out = append(out, s)
		return nil
	})
	slices.Sort(out)
	return out, err
}

func targets(s solver.CacheKeyStorage, id string, l solver.CacheInfoLink) ([]string, error) {
	return list(func(fn func(string) error) error { return s.WalkLinks(id, l, fn) })
}

func holders(s solver.CacheKeyStorage, result string) ([]string, error) {
	return list(func(fn func(string) error) error { return s.WalkIDsByResult(result, fn) })
}

// results are the results of a node, as text.
func results(s solver.CacheKeyStorage, id string) ([]string, error) {
	return list(func(fn func(string) error) error {
		return s.WalkResults(id, func(res solver.CacheResult) error { return fn(resultText(res)) })
	})
}

func resultText(res solver.CacheResult) string {
	return fmt.Sprintf("%q of %s", res.ID, res.CreatedAt.UTC().Format(time.RFC3339Nano))
}

// backlinks are the links to a node, as text.
func backlinks(s solver.CacheKeyStorage, id string) ([]string, error) {
	return list(func(fn func(string) error) error {
		return s.WalkBacklinks(id, func(from string, l solver.CacheInfoLink) error { return fn(fmt.Sprintf("%q by %+v", from, l)) })
	})
}

// differ returns an error that says what is different about something.
func differ(what string, got []string, err error, want []string, wantErr error) error {
	if err := errors.Join(err, wantErr); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: got %.20q, want %.20q", what, got, want)
	}
	return nil
}

// DiffStorage returns in what got differs from want, or disagrees with itself.
func DiffStorage(got, want solver.CacheKeyStorage) error {
	if err := checkStorage(got); err != nil {
		return err
	}
	nodes, err := list(got.Walk)
	wanted, wantErr := list(want.Walk)
	if err := differ("nodes", nodes, err, wanted, wantErr); err != nil {
		return err
	}
	for _, id := range nodes {
		if err := diffNode(got, want, id); err != nil {
			return err
		}
	}
	return nil
}

func diffNode(got, want solver.CacheKeyStorage, id string) error {
	for what, of := range map[string]func(solver.CacheKeyStorage, string) ([]string, error){"results of": results, "links to": backlinks} {
		g, err := of(got, id)
		w, wantErr := of(want, id)
		if err := differ(fmt.Sprintf("%s %.100q", what, id), g, err, w, wantErr); err != nil {
			return err
		}
	}
	return nil
}

// checkStorage proves that a storage agrees with itself: each link is found from
// both of its ends, each result from its node and by its ID, and what they lead
// to exists.
func checkStorage(s solver.CacheKeyStorage) error {
	nodes, err := list(s.Walk)
	if err != nil {
		return err
	}
	for i, id := range nodes {
		if i > 0 && id == nodes[i-1] || !s.Exists(id) {
			return fmt.Errorf("Walk visits node %.100q twice, or it does not exist", id)
		}
		err := errors.Join(s.WalkResults(id, func(res solver.CacheResult) error { return checkResult(s, id, res) }),
			s.WalkBacklinks(id, func(from string, l solver.CacheInfoLink) error { return checkLink(s, from, l, id) }))
		if err != nil {
			return fmt.Errorf("node %.100q: %w", id, err)
		}
	}
	return nil
}

func checkResult(s solver.CacheKeyStorage, id string, res solver.CacheResult) error {
	loaded, err := s.Load(id, res.ID)
	if err != nil || resultText(loaded) != resultText(res) || loaded.CreatedAt.IsZero() != res.CreatedAt.IsZero() {
		return fmt.Errorf("result %s: Load gives %s (%v)", resultText(res), resultText(loaded), err)
	}
	if ids, err := holders(s, res.ID); err != nil || count(ids, id) != 1 {
		return fmt.Errorf("result %.100q leads to %.100q (%v)", res.ID, ids, err)
	}
	return nil
}

func checkLink(s solver.CacheKeyStorage, from string, l solver.CacheInfoLink, id string) error {
	to, err := targets(s, from, l)
	if err != nil || count(to, id) != 1 || !s.HasLink(from, l, id) || !s.Exists(from) {
		return fmt.Errorf("the link %+v from %.100q leads to %.100q (%v), or comes from nowhere", l, from, to, err)
	}
	for _, id := range to {
		if !s.Exists(id) {
			return fmt.Errorf("the link %+v from %.100q leads to %.100q, which does not exist", l, from, id)
		}
	}
	return nil
}

func count(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}

// names are what changes name, and something that they do not.
type names struct {
	ids, results []string
	links        []solver.CacheInfoLink
}

func universe(ops []StorageOp) *names {
	u := &names{ids: []string{"no node"}, results: []string{"no result"}, links: []solver.CacheInfoLink{someLink("no link")}}
	for _, op := range ops {
		if op.Kind != "Release" {
			u.ids = append(u.ids, op.ID)
		}
		if op.Kind == "AddLink" {
			u.ids, u.links = append(u.ids, op.Target), append(u.links, op.Link)
		} else {
			u.results = append(u.results, op.Result.ID)
		}
	}
	slices.Sort(u.ids)
	slices.Sort(u.results)
	u.ids, u.results = slices.Compact(u.ids), slices.Compact(u.results)
	seen := map[solver.CacheInfoLink]bool{}
	u.links = slices.DeleteFunc(u.links, func(l solver.CacheInfoLink) bool {
		defer func() { seen[l] = true }()
		return seen[l]
	})
	return u
}

func (u *names) small() bool { return len(u.ids)*len(u.ids)*len(u.links) < 5000 }

// diff compares all that can be asked by name, of what is there and what is not.
func (u *names) diff(got, want solver.CacheKeyStorage) error {
	for _, r := range u.results {
		g, err := holders(got, r)
		w, wantErr := holders(want, r)
		if err := differ(fmt.Sprintf("nodes with %.100q", r), g, err, w, wantErr); err != nil {
			return err
		}
	}
	for _, id := range u.ids {
		if got.Exists(id) != want.Exists(id) {
			return fmt.Errorf("node %.100q exists: %v, want %v", id, got.Exists(id), want.Exists(id))
		}
		if err := diffNode(got, want, id); err != nil {
			return err
		}
		for _, r := range u.results {
			_, err := got.Load(id, r)
			if _, none := want.Load(id, r); errors.Is(err, solver.ErrNotFound) != (none != nil) {
				return fmt.Errorf("Load(%.100q, %.100q): got %v, want %v", id, r, err, none)
			}
		}
		for _, l := range u.links {
			g, err := targets(got, id, l)
			w, wantErr := targets(want, id, l)
			if err := differ(fmt.Sprintf("targets of %.100q by %+v", id, l), g, err, w, wantErr); err != nil {
				return err
			}
			for _, to := range u.ids {
				if got.HasLink(id, l, to) != want.HasLink(id, l, to) {
					return fmt.Errorf("a link %+v from %.100q to %.100q is there: %v", l, id, to, !want.HasLink(id, l, to))
				}
			}
		}
	}
	return nil
}
