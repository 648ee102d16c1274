package edge

// How a search begins anew: for further managers, or because the caches may hold more.

// add takes further managers in, which have been asked nothing yet. They are asked
// once nothing else is looked up: what is loading or running goes on.
func (m *Machine) add(mask Managers) {
	m.managers |= mask
	if len(m.in) > 0 {
		m.grow()
	}
	m.anew = true
}

// searchAnew begins the search anew for managers that were added. That all keys
// were known was said of those there were, here and at the inputs.
func (m *Machine) searchAnew() {
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
func (m *Machine) recheck() {
	for i := range m.in {
		m.in[i].matched = 0
	}
	m.matched = 0
	if m.further != nil {
		clear(*m.further)
	}
	m.restart()
}

// restart goes back to the first stage of the search and probes every input. What
// was asked of inputs stays asked; keys that are awaited will be asked for again,
// for the probes may take in those that answer.
func (m *Machine) restart() {
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
