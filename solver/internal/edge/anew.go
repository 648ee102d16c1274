package edge

// How a search begins anew: for further managers, or because the caches may hold more.

// add takes further managers in, which have been asked nothing yet. They are asked
// once nothing else is looked up: what is loading or running goes on.
func (m work) add(mask, later Managers) {
	m.managers |= mask
	m.takeLater(later &^ m.managers)
	m.anew = true
}

// widen begins the search anew with the managers that were to be asked later.
func (m work) widen() {
	m.managers |= m.later
	m.later = 0
	m.emit(Effect{Kind: Widen})
	m.restart()
}

// searchAnew begins the search anew for managers that were added. That all keys
// were known was said of those there were, here and at the inputs.
func (m work) searchAnew() {
	m.anew = false
	m.known = min(m.known, Keys)
	for i := range m.in {
		if in := &m.in[i]; in.known == AllKeys {
			in.known = Keys
		}
	}
	m.restart()
}

// recheck begins the search anew, with all that is known of the inputs.
func (m work) recheck() {
	for i := range m.in {
		m.in[i].matched = 0
	}
	m.restart()
}

// restart goes back to the first stage of the search and probes every input. What
// was asked of inputs stays asked; keys that are awaited will be asked for again,
// for the probes may take in those that answer.
func (m work) restart() {
	m.stage, m.foundAt, m.fresh, m.joined = gather, gather, true, false
	m.dead = 0
	for i := range m.in {
		in := &m.in[i]
		in.exhausted = false
		if in.awaited {
			in.awaited = false
			m.pending--
		}
		if m.mapped && in.known >= Keys {
			m.probe(int32(i))
		}
	}
}

// lost notes that the result of an input is gone and has to be made again; if i is
// negative, that of somebody else's. Ended says that an execution has ended for that
// reason, or was not begun: the edge goes back to where it asks for what it needs.
func (m work) lost(i int32, ended bool) {
	if i >= 0 {
		in := &m.in[i]
		if in.known == Result {
			in.known, in.ahead = AllKeys, false
			m.withResult--
		}
		switch {
		case ended || in.content != digesting:
		case m.stage < missed:
			in.content = wanted
			m.emit(Effect{Kind: Ask, Input: i, Level: Result})
		default: // the search is over
			in.content = possible
			m.pending--
		}
	}
	if ended || m.stage == inputs {
		m.stage, m.joined = m.base, false
		if m.asked == Result {
			m.asked = Keys
		}
	}
}
