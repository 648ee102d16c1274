package solver

import (
	"errors"
	"hash/maphash"
	"sync"
)

// memStorage keeps the graph of cache keys in memory. It is on the path of every
// edge that is solved, so a node with one link and one result costs three small
// objects, and a look-up that finds nothing one map access.
type memStorage struct {
	// mu guards everything below, down to the fields of nodes and links. It is
	// never held over a callback, and for so short a time that whoever waits for it
	// need not sleep.
	mu    sync.Mutex
	nodes table[*memNode] // by hashOf(id)
	// results holds, by result ID, the first of the nodes' entries for it. It is
	// made when it is first asked for; see byResult.
	results map[string]*memResult
	seed    maphash.Seed
	// credit pays for looking for cycles that nothing keeps: see deadRegion.
	credit int
}

// memNode is a key.
type memNode struct {
	id string
	// results are the node's, the newest first.
	results *memResult
	// Links of equal info are neighbours in the list of outgoing links, in the
	// order in which they were added.
	firstOut, lastOut *memLink
	firstIn, lastIn   *memLink
	// hub indexes the outgoing links; nil while there are few.
	hub *memHub
	// gone says that the node is no longer in the storage.
	gone bool
	// own is room for the first result of the node; used once. Its node is set
	// from then on.
	own memResult
}

// memResult is a result as one node holds it.
type memResult struct {
	CacheResult
	node       *memNode
	next, prev *memResult
	// nextHolder is the entry of another node for the same result.
	nextHolder *memResult
}

// memBacklink is a link as WalkBacklinks tells it.
type memBacklink struct {
	from string
	link CacheInfoLink
}

// errEmptyID refuses what would be a node without a name.
var errEmptyID = errors.New("cache storage: empty id")

// NewInMemoryCacheStorage returns a storage that keeps everything in memory.
func NewInMemoryCacheStorage() CacheKeyStorage {
	return &memStorage{
		seed: maphash.MakeSeed(),
	}
}

// AnswersFromMemory implements MemoryAnswerer.
func (s *memStorage) AnswersFromMemory() bool { return true }

func (s *memStorage) Exists(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known(id) != nil
}

func (s *memStorage) Walk(fn func(id string) error) error {
	s.mu.Lock()
	ids := make([]string, 0, s.nodes.n)
	for n := range s.nodes.all {
		ids = append(ids, n.id)
	}
	s.mu.Unlock()
	return eachString(ids, fn)
}

func (s *memStorage) WalkResults(id string, fn func(CacheResult) error) error {
	var room [4]CacheResult
	for _, r := range s.resultsOf(id, room[:0]) {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStorage) Load(id string, resultID string) (CacheResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.known(id); n != nil {
		if r := s.find(n, resultID); r != nil {
			return r.CacheResult, nil
		}
	}
	return CacheResult{}, ErrNotFound
}

func (s *memStorage) AddResult(id string, res CacheResult) error {
	if id == "" || res.ID == "" {
		return errEmptyID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addResult(s.node(id), res)
	return nil
}

// save adds a result to a key's node, and the links to it from all that is known
// of the key's inputs.
func (s *memStorage) save(key *CacheKey, res CacheResult) error {
	if res.ID == "" {
		return errEmptyID
	}
	// Look-ups wait for the lock, so what can be done before it is taken, is.
	n := 0
	for i := range key.deps {
		n += key.deps[i].alternatives()
	}
	links := make([]memLink, 0, n)
	var room [8]uint32
	hashes := room[:0]
	for i := range key.deps {
		dep := &key.deps[i]
		for j := range dep.alternatives() {
			from, selector := dep.alternative(j)
			if from.ID == "" {
				return errEmptyID
			}
			hashes = append(hashes, hashOf(from.ID))
			links = append(links, memLink{info: CacheInfoLink{Input: Index(i), Output: key.output, Digest: key.digest, Selector: selector}})
		}
	}
	hash, fresh := hashOf(key.ID), &memNode{id: key.ID}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.hashed(key.ID, hash)
	if to == nil {
		to = fresh
		s.nodes.insert(hash, to)
	}
	s.addResult(to, res)
	k := 0
	for i := range key.deps {
		dep := &key.deps[i]
		for j := range dep.alternatives() {
			from, _ := dep.alternative(j)
			s.addLink(s.hashedNode(from.ID, hashes[k]), &links[k], to)
			k++
		}
	}
	return nil
}

func (s *memStorage) addResult(n *memNode, res CacheResult) {
	if r := s.find(n, res.ID); r != nil {
		r.CacheResult = res
		return
	}
	r := &n.own
	if r.node != nil {
		r = &memResult{}
	}
	*r = memResult{CacheResult: res, node: n, next: n.results}
	if r.next != nil {
		r.next.prev = r
	}
	n.results = r
	if s.results != nil {
		s.indexResult(r)
	} else if n.manyResults() {
		s.byResult()
	}
}

// manyResults reports whether the results of a node are too many to be looked
// through one by one.
func (n *memNode) manyResults() bool {
	count := 0
	for r := n.results; r != nil && count <= manyLinks; r = r.next {
		count++
	}
	return count > manyLinks
}

// byResult returns the index of results. Only a cache that is pruned needs it, or
// a node with many results, so it is made when it is first asked for. The lock is held for writing.
func (s *memStorage) byResult() map[string]*memResult {
	if s.results == nil {
		s.results = make(map[string]*memResult, s.nodes.n)
		for n := range s.nodes.all {
			for r := n.results; r != nil; r = r.next {
				s.indexResult(r)
			}
		}
	}
	return s.results
}

func (s *memStorage) indexResult(r *memResult) {
	if holder := s.results[r.ID]; holder != nil {
		holder.nextHolder, r.nextHolder = r, holder.nextHolder
	} else {
		s.results[r.ID] = r
	}
}

func (s *memStorage) WalkIDsByResult(resultID string, fn func(string) error) error {
	s.mu.Lock()
	var room [8]string
	ids := room[:0]
	for r := s.byResult()[resultID]; r != nil; r = r.nextHolder {
		ids = append(ids, r.node.id)
	}
	s.mu.Unlock()
	return eachString(ids, fn)
}

func (s *memStorage) AddLink(id string, link CacheInfoLink, target string) error {
	if id == "" || target == "" {
		return errEmptyID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLink(s.node(id), &memLink{info: link}, s.node(target))
	return nil
}

func (s *memStorage) WalkLinks(id string, link CacheInfoLink, fn func(id string) error) error {
	var room [8]string
	return eachString(s.targets(id, &link, room[:0]), fn)
}

func (s *memStorage) HasLink(id string, link CacheInfoLink, target string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.known(id), s.known(target)
	return from != nil && to != nil && from.link(&link, to) != nil
}

func (s *memStorage) WalkBacklinks(id string, fn func(id string, link CacheInfoLink) error) error {
	var room [4]memBacklink
	for _, b := range s.backlinks(id, room[:0]) {
		if err := fn(b.from, b.link); err != nil {
			return err
		}
	}
	return nil
}

// probe reports whether a node has any link that equals link. This and the
// following are what the manager calls in place of the walks: they need neither
// a closure nor an allocation.
func (s *memStorage) probe(id string, link *CacheInfoLink) bool {
	s.mu.Lock()
	n := s.known(id)
	found := n != nil && n.first(link) != nil
	s.mu.Unlock()
	return found
}

// targetCount is the number of links of a node that equal link.
func (s *memStorage) targetCount(id string, link *CacheInfoLink) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.known(id); n != nil {
		return n.count(link)
	}
	return 0
}

// targets appends to buf the targets of the links of a node that equal link.
func (s *memStorage) targets(id string, link *CacheInfoLink, buf []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.known(id)
	if n == nil {
		return buf
	}
	for l := n.first(link); l != nil && l.info == *link; l = l.nextOut {
		buf = append(buf, l.to.id)
	}
	return buf
}

// backlinks appends to buf the links that lead to a node.
func (s *memStorage) backlinks(id string, buf []memBacklink) []memBacklink {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.known(id)
	if n == nil {
		return buf
	}
	for l := n.firstIn; l != nil; l = l.nextIn {
		buf = append(buf, memBacklink{from: l.from.id, link: l.info})
	}
	return buf
}

// resultsOf appends to buf the results of a node.
func (s *memStorage) resultsOf(id string, buf []CacheResult) []CacheResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.known(id)
	if n == nil {
		return buf
	}
	for r := n.results; r != nil; r = r.next {
		buf = append(buf, r.CacheResult)
	}
	return buf
}

// known returns the node of an ID; nil if there is none.
func (s *memStorage) known(id string) *memNode { return s.hashed(id, hashOf(id)) }

func (s *memStorage) hashed(id string, hash uint32) *memNode {
	n, _ := s.nodes.find(hash, func(n *memNode) bool { return n.id == id })
	return n
}

// node returns the node of an ID, and makes it if there is none.
func (s *memStorage) node(id string) *memNode {
	return s.hashedNode(id, hashOf(id))
}

func (s *memStorage) hashedNode(id string, hash uint32) *memNode {
	n := s.hashed(id, hash)
	if n == nil {
		n = &memNode{id: id}
		s.nodes.insert(hash, n)
	}
	return n
}

// find returns a node's entry for a result. A node with many results and a
// result at many nodes are both quick: the shorter list decides.
func (s *memStorage) find(n *memNode, resultID string) *memResult {
	if n.results == nil {
		return nil
	}
	if s.results == nil {
		for r := n.results; r != nil; r = r.next {
			if r.ID == resultID {
				return r
			}
		}
		return nil
	}
	ofNode, holder := n.results, s.results[resultID]
	for ofNode != nil && holder != nil {
		if ofNode.ID == resultID {
			return ofNode
		}
		if holder.node == n {
			return holder
		}
		ofNode, holder = ofNode.next, holder.nextHolder
	}
	return nil
}

func eachString(list []string, fn func(string) error) error {
	for _, s := range list {
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}
