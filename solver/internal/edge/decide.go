package edge

// advance takes one step and reports whether there may be another.
func (m work) advance() bool {
	if m.stage >= done {
		return false
	}
	if m.mapped && !m.formed && m.withKeys == m.n {
		m.formed = true
		m.emit(Effect{Kind: FormKey})
	}
	if m.stage < missed && m.mapped && m.alive() == 0 && !m.more && m.later == 0 {
		m.end(missed)
	}
	if m.formed {
		m.raise(m.level(), false)
	}
	if m.want <= m.known || m.waiting {
		m.rest()
		return false
	}
	if !m.mapped {
		m.callMap()
		m.askKeys()
		return false
	}
	if m.reprobe && m.stage < missed {
		m.probeAgain()
	}
	switch m.stage {
	case gather:
		return m.gather()
	case askLater:
		m.widen()
		return true
	case nextMap:
		if m.more {
			m.callMap()
			return false
		}
		m.stage++
		return true
	case unmatchedKeys, unmatchedContent, matchedKeys, matchedContent:
		return m.search()
	case found:
		if m.join() {
			return false
		}
		m.leave(loading)
		m.emit(Effect{Kind: Load})
	case missed:
		if m.want < Result { // the key is not formed yet
			m.askKeys()
			return false
		}
		if m.formed && m.join() {
			return false
		}
		m.leave(inputs)
		m.askResults()
		return true
	case inputs:
		return m.awaitResults()
	}
	return false
}

// level is what the edge knows, by its stage.
func (m *Machine) level() Level {
	switch {
	case m.stage >= missed:
		return AllKeys
	case m.n == 0:
		return m.rootLevel()
	case m.stage > gather:
		return Keys
	}
	return Nothing
}

// rest stops what a satisfied demand no longer needs. What a search that missed
// has left under way is end's to decide.
func (m work) rest() {
	if m.want <= m.known && m.stage < missed && (m.pending > 0 || m.probing > 0) {
		m.abandon()
	}
}

func (m work) callMap() {
	if !m.mapping {
		m.mapping = true
		m.emit(Effect{Kind: CallMap})
	}
}

func (m work) askKeys() {
	if m.asked < Keys && m.n > 0 {
		m.asked = Keys
		m.emit(Effect{Kind: AskAll, Level: Keys})
	}
}

func (m work) askResults() {
	if m.asked < Result && m.n > 0 {
		m.asked = Result
		m.emit(Effect{Kind: AskAll, Level: Result})
	}
}

func (m work) probeAgain() {
	m.reprobe = false
	for i := range m.in {
		if m.in[i].unprobed {
			m.probe(int32(i))
		}
	}
}

// gather waits for the definition keys of all inputs and the caches' answers to
// them. Without inputs, the key itself is looked up, once the result is wanted.
func (m work) gather() bool {
	if !m.formed {
		m.askKeys()
		return false
	}
	if m.probing > 0 {
		return false
	}
	if m.match() {
		return false
	}
	if m.stage = nextMap; m.later != 0 {
		m.stage = askLater
	}
	return true
}

// match asks for the keys that all inputs share, if there can be new ones.
func (m work) match() bool {
	root := m.n == 0
	if !m.fresh || m.managers == 0 || root && m.want < Result || !root && m.Full(m.in) == 0 {
		return false
	}
	m.fresh, m.waiting = false, true
	m.emit(Effect{Kind: Match})
	return true
}

// search is one of the stages that ask inputs for more keys.
func (m work) search() bool {
	if m.pending > 0 || m.probing > 0 {
		return false
	}
	if m.match() {
		return false
	}
	if m.enlist() {
		return false
	}
	if m.stage++; m.stage == missed {
		m.end(missed)
	}
	return true
}

// enlist asks the inputs that this stage is about, and reports whether there
// were any.
func (m work) enlist() bool {
	alive := m.alive()
	unmatched := m.stage == unmatchedKeys || m.stage == unmatchedContent
	if m.stage == unmatchedKeys || m.stage == matchedKeys {
		for i := range m.in {
			in := &m.in[i]
			if in.known < AllKeys && (in.matched&alive == 0) == unmatched {
				in.awaited = true
				m.pending++
				m.emit(Effect{Kind: Ask, Input: int32(i), Level: AllKeys})
			}
		}
		if m.pending > 0 && m.stage == unmatchedKeys {
			for i := range m.in {
				m.askAhead(int32(i))
			}
		}
		return m.pending > 0
	}
	// Content keys of results that are there come before those for which an input
	// must be solved first: they may rule it out.
	for _, solved := range []bool{true, false} {
		for i := range m.in {
			in := &m.in[i]
			if in.content != possible || (in.known == Result) != solved || (in.matched&alive == 0) != unmatched {
				continue
			}
			m.pending++
			if solved {
				in.content = digesting
				m.emit(Effect{Kind: Digest, Input: int32(i)})
			} else {
				in.content = wanted
				m.emit(Effect{Kind: Ask, Input: int32(i), Level: Result})
			}
		}
		if m.pending > 0 {
			return true
		}
	}
	return false
}

// askAhead asks an input for its result while the search waits for more keys of
// others, if the result is needed however that goes: nothing the input can say of
// itself matches any more, so either a match is found by its content, or the edge
// runs. To get keys an input may have to be solved, and what is independent of that
// is not to wait for it. The content key is left for when it can matter.
func (m work) askAhead(i int32) {
	in := &m.in[i]
	if m.stage != unmatchedKeys || m.pending == 0 || in.ahead || in.content != possible ||
		in.known < AllKeys || in.known == Result || in.probing || in.unprobed {
		return
	}
	if alive := m.alive(); alive == 0 || in.matched&alive != 0 {
		return
	}
	in.ahead = true
	m.emit(Effect{Kind: Ask, Input: i, Level: Result})
}

// join asks once whether an equal edge is being solved.
func (m work) join() bool {
	if m.joined {
		return false
	}
	m.joined, m.waiting = true, true
	m.emit(Effect{Kind: Join})
	return true
}

// awaitResults runs the edge once all of its inputs have results.
func (m work) awaitResults() bool {
	if m.formed && m.join() {
		return false
	}
	if !m.formed || m.withResult < m.n {
		return false
	}
	m.stage = running
	m.emit(Effect{Kind: Run})
	return false
}
