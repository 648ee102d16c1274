package solver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// exportWalk is one export of one key: it finds the keys of the chain and how
// they are linked, decides which results go along, and tells the target. The
// graph may be a chain of a million, and equal keys may make it cyclic: each step
// goes through lists, and through each node once.
type exportWalk struct {
	ctx     context.Context
	session *exportSession
	opt     CacheExportOpt
	// managers and others are the caches that the keys name, each once.
	managers []*cacheManager
	others   []CacheManager
	// foreign export what ops have built and other managers have saved.
	foreign []CacheExporter
	// order has the nodes as they were found, from the top.
	order []*exportNode
	// more are the keys that were gone through beside the nodes' first.
	more map[*CacheKey]struct{}
	// back, stored and found are room that is used again.
	back   []backlink
	stored []CacheResult
	found  []exportRecord
}

// node returns the node of an ID for this walk.
func (w *exportWalk) node(id string) *exportNode {
	n := w.session.nodes[id]
	if n == nil {
		n = &exportNode{id: id}
		w.session.nodes[id] = n
	}
	if n.walk != w.session.walk {
		*n = exportNode{id: n.id, rec: n.rec, told: n.told, added: n.added, walk: w.session.walk, links: n.links[:0]}
		w.order = append(w.order, n)
	}
	return n
}

// ask adds a cache to those that are asked.
func (w *exportWalk) ask(c CacheManager) {
	if m, ok := c.(*cacheManager); ok {
		for _, have := range w.managers {
			if have == m || have.id == m.id {
				return
			}
		}
		w.managers = append(w.managers, m)
		return
	}
	if c == nil {
		return
	}
	for _, have := range w.others {
		if have.ID() == c.ID() {
			return
		}
	}
	w.others = append(w.others, c)
}

// keys goes through what the keys themselves know, and returns the node of the
// first. Afterwards all caches to be asked are known.
func (w *exportWalk) keys(top *CacheKey) *exportNode {
	n := w.node(top.ID)
	stack := []*CacheKey{top}
	for len(stack) > 0 {
		k := stack[len(stack)-1]
		stack = w.key(k, stack[:len(stack)-1])
	}
	return n
}

// key goes through one key, and puts those of its inputs on the stack.
func (w *exportWalk) key(k *CacheKey, stack []*CacheKey) []*CacheKey {
	n := w.node(k.ID)
	if n.key == k {
		return stack
	}
	for _, c := range k.caches.managers() {
		w.ask(c)
	}
	if k.export != nil && (n.export == nil || *n.export) {
		n.export = k.export
	}
	if n.key == nil {
		n.key, n.digest, n.output = k, k.digest, k.output
	} else {
		// Another key of the same ID may know more alternatives.
		if _, done := w.more[k]; done || len(k.deps) == 0 && len(k.goesWith()) == 0 {
			return stack
		}
		if w.more == nil {
			w.more = map[*CacheKey]struct{}{}
		}
		w.more[k] = struct{}{}
	}
	for _, sub := range k.goesWith() {
		switch own := sub.Exporter.(type) {
		case nil:
		case *keyExporter:
			stack = append(stack, (*CacheKey)(own))
		case *storedExporter:
			w.ask(own.manager)
			stack = append(stack, own.key)
		default:
			w.foreign = append(w.foreign, own)
		}
	}
	n.links = slices.Grow(n.links, len(k.deps))
	n.inputs = max(n.inputs, len(k.deps))
	for i := range k.deps {
		dep := k.deps[i].abroad()
		for j := range dep.alternatives() {
			in, selector := dep.alternative(j)
			n.links = append(n.links, exportLink{src: w.node(in.ID), input: Index(i), selector: selector})
			stack = append(stack, in)
		}
	}
	return stack
}

// links adds what the caches know of the nodes, and of the nodes that are found
// by that.
func (w *exportWalk) links() error {
	for i := 0; i < len(w.order); i++ {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		n := w.order[i]
		if err := w.backlinks(n); err != nil {
			return fmt.Errorf("export of cache key %s: %w", n, err)
		}
		if n.digest == "" {
			n.digest, n.output = digest.Digest(n.id), 0
		}
		if len(n.links) > 1 {
			slices.SortFunc(n.links, exportLink.compare)
			n.links = slices.Compact(n.links)
		}
	}
	return nil
}

// fewLinks is how many links are looked through one by one.
const fewLinks = 8

// backlinks adds to a node what the caches know of its inputs.
func (w *exportWalk) backlinks(n *exportNode) error {
	w.back = w.back[:0]
	for _, m := range w.managers {
		var err error
		if w.back, err = m.store.backlinks(n.id, w.back); err != nil {
			return err
		}
	}
	if len(w.back) > 1 {
		slices.SortFunc(w.back, backlink.compare)
	}
	for i := range w.back {
		b := &w.back[i]
		if n.digest == "" {
			n.digest, n.output = b.link.Digest, b.link.Output
		}
		// A record stands for one operation. That another operation has the same
		// key cannot be said of it.
		if b.link.Digest != n.digest || b.link.Output != n.output {
			continue
		}
		if n.inputs = max(n.inputs, int(b.link.Input)+1); isLocal(b.from) {
			continue
		}
		l := exportLink{src: w.node(unaliased(b.from)), input: b.link.Input, selector: b.link.Selector}
		if len(n.links) > fewLinks || !slices.Contains(n.links, l) {
			n.links = append(n.links, l)
		}
	}
	return nil
}

// leaveOut leaves out the nodes below the top that nobody can find, since all that an input is
// known by is local.
func (w *exportWalk) leaveOut(top *exportNode) {
	for _, n := range slices.Backward(w.order) { // mostly, inputs come before what uses them
		n.links = slices.DeleteFunc(n.links, func(l exportLink) bool { return l.src.lost })
		n.lost = n != top && n.unreachable()
	}
	w.order = slices.DeleteFunc(w.order, func(n *exportNode) bool { return n.lost })
}

// unreachable reports whether an input has no link. The links are sorted.
func (n *exportNode) unreachable() bool {
	next := 0
	for _, l := range n.links {
		if int(l.input) == next {
			next++
		}
	}
	return next < n.inputs
}

// emit tells the target what it has not been told: first the records, those of
// the inputs before those of what uses them, then links and results.
func (w *exportWalk) emit() error {
	for _, n := range slices.Backward(w.order) {
		if n.rec == nil {
			n.rec = w.session.target.Add(n.recordDigest())
		}
		if n.rec == nil {
			return fmt.Errorf("export of cache key %s: the target made no record", n)
		}
	}
	for _, n := range slices.Backward(w.order) {
		n.tellLinks()
		if n.remote != nil && n.remote != n.added {
			n.rec.AddResult(n.createdAt, n.remote)
			n.added = n.remote
		}
	}
	return nil
}

// tellLinks tells the target the links that are new. Both lists are sorted.
func (n *exportNode) tellLinks() {
	told, news := n.told, 0
	for _, l := range n.links {
		for len(told) > 0 && told[0].compare(l) < 0 {
			told = told[1:]
		}
		if len(told) > 0 && told[0] == l {
			continue
		}
		n.rec.LinkFrom(l.src.rec, int(l.input), string(l.selector))
		news++
	}
	switch {
	case len(n.told) == 0:
		n.told, n.links = n.links, nil
	case news > 0:
		n.told = append(n.told, n.links...)
		slices.SortFunc(n.told, exportLink.compare)
		n.told = slices.Compact(n.told)
	}
}

// recordDigest is what the target knows the node by.
func (n *exportNode) recordDigest() digest.Digest {
	if n.key == nil && len(n.links) == 0 && len(n.told) == 0 {
		// Only its ID is known, and that of a root or a content key is the digest.
		if dgst := digest.Digest(n.id); strings.HasPrefix(n.id, randomPrefix) || dgst.Validate() == nil {
			return dgst
		}
	}
	return rootKeyDigest(n.digest, n.output)
}

// String names the node in errors.
func (n *exportNode) String() string {
	if n.digest == "" || string(n.digest) == n.id {
		return n.id
	}
	return fmt.Sprintf("%s (%s, output %d)", n.id, n.digest, n.output)
}

func (l exportLink) compare(o exportLink) int {
	if c := cmp.Compare(l.input, o.input); c != 0 || l == o {
		return c
	}
	return cmp.Or(strings.Compare(string(l.selector), string(o.selector)), strings.Compare(l.src.id, o.src.id))
}

func (b backlink) compare(o backlink) int {
	if c := cmp.Compare(b.link.Input, o.link.Input); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(b.link.Output, o.link.Output),
		strings.Compare(string(b.link.Digest), string(o.link.Digest)),
		strings.Compare(string(b.link.Selector), string(o.link.Selector)),
		strings.Compare(b.from, o.from),
	)
}
