package edge

// stage is where an edge stands. The search goes through the stages in order;
// see the package comment.
type stage uint8

const (
	gather stage = iota
	askLater
	nextMap
	unmatchedKeys
	unmatchedContent
	matchedKeys
	matchedContent
	missed  // no match is possible
	found   // keys were found that all inputs share
	loading // Load is under way
	inputs  // waiting for the results of all inputs
	running // Run is under way, or an equal edge's
	done
	failed
)

var stageNames = [...]string{"gather", "askLater", "nextMap", "unmatchedKeys", "unmatchedContent", "matchedKeys", "matchedContent", "missed", "found", "loading", "inputs", "running", "done", "failed"}

// content is what is known of an input's content key.
type content uint8

const (
	noContent content = iota // there is none
	possible                 // it could be computed
	wanted                   // the input's result is awaited, to compute it
	digesting                // Digest is unanswered
	settled                  // it was computed, or could not be
)

// awaited reports whether the content key is on its way. It then counts in
// Machine.pending.
func (c content) awaited() bool { return c == wanted || c == digesting }

// Input is what an edge knows of one of its inputs. The driver keeps the inputs of
// a machine beside it, so that neither has a pointer. The zero value stands for an
// input of which nothing is known.
type Input struct {
	// matched has the managers in which a key of the input leads to the operation.
	matched Managers
	// known falls only when the input's result is lost.
	known   Level
	content content
	// awaited: AllKeys was asked for in this stage and has not been answered. It
	// counts in Machine.pending.
	awaited bool
	// ahead: its result was asked for before its content key is. Nobody waits for it.
	ahead bool
	// probing: a Probe is unanswered. It counts in Machine.probing.
	probing bool
	// unprobed: it has keys to probe once the last Probe is answered and the edge
	// searches.
	unprobed bool
	// exhausted: no more keys will come. What the input does not match is dead.
	exhausted bool
}

// Machine decides for one edge. The zero value is not usable; see Init.
//
// It holds no pointer. The inputs are passed to each method that needs them; they
// are always the same ones.
type Machine struct {
	managers Managers
	// later are to be asked when those have no match: see Caches.
	later Managers
	// dead has the managers in which an exhausted input has no match.
	dead Managers

	stage stage
	// foundAt is the search stage that led to found, where the search goes on if
	// nothing can be loaded.
	foundAt stage
	// base is found or missed: where the edge goes back to when it is abandoned
	// beyond the search.
	base stage
	want Level
	// known is what was last published. It falls only from AllKeys to Keys, when
	// managers are added.
	known Level

	// asked is what all inputs have been asked for since the last Drop or Abandon:
	// Nothing, Keys or Result.
	asked Level

	mapped  bool // the operation's digest is known
	mapping bool // CallMap is unanswered
	more    bool // there are further cache maps; only without inputs
	formed  bool // FormKey was emitted: every input has keys
	joined  bool // Join was emitted since the last Abandon
	waiting bool // Match or Join is unanswered
	fresh   bool // there may be a match that the last Match did not see
	reprobe bool // some input is unprobed and not being probed
	anew    bool // managers were added: to search anew as soon as nothing is looked up
	news    bool // known is to be published when the decisions of this step are made

	n          int32 // inputs
	withKeys   int32 // inputs that know Keys
	withResult int32 // inputs that know Result
	pending    int32 // inputs awaited in this stage
	probing    int32 // inputs with an unanswered Probe
}

// work is a machine with its inputs and what it asks for, during one call.
type work struct {
	*Machine
	in  []Input
	out *[]Effect
}

// Exhausted says whether no more keys of the input will come.
func (in *Input) Exhausted() bool { return in.exhausted }

// Init prepares a machine for an edge with n inputs. It may ask the caches; none, for
// an edge that ignores them.
func (m *Machine) Init(n int, caches Caches) {
	*m = Machine{managers: caches.First, n: int32(n)}
	m.takeLater(caches.Later)
}

// takeLater notes caches to be asked later.
func (m *Machine) takeLater(later Managers) {
	if m.n > 0 {
		m.later |= later
	}
}

// Asked are the managers that a Probe or a Match is to ask.
func (m *Machine) Asked() Managers { return m.managers }

// Known is what the edge knows and has published.
func (m *Machine) Known() Level { return m.known }

// Wanted is the demand there is.
func (m *Machine) Wanted() Level { return m.want }

// Failed reports whether the edge has failed.
func (m *Machine) Failed() bool { return m.stage == failed }

// Searching reports whether the caches' answers can still change how the edge
// goes on.
func (m *Machine) Searching() bool { return m.stage < loading || m.stage == inputs }

// Stage names where the edge stands, for people.
func (m *Machine) Stage() string { return stageNames[m.stage] }

// ContentMatters reports whether the content keys being computed are needed to
// rule a match out (true), or to tell matches apart.
func (m *Machine) ContentMatters() bool { return m.stage == unmatchedContent }

// Step takes an event in, decides, and appends what is to be done to out.
func (m *Machine) Step(in []Input, ev Event, out *[]Effect) {
	m.Take(in, ev, out)
	m.Decide(in, out)
}

// Take notes an event. Several may be taken before it is decided how to go on: the
// answers to effects that could be given at once, or the news of all inputs.
func (m *Machine) Take(in []Input, ev Event, out *[]Effect) {
	if m.stage != failed {
		w := work{m, in, out}
		w.take(ev)
	}
}

// Decide goes on as far as the demand asks and the knowledge allows, and appends
// what is to be done to out.
func (m *Machine) Decide(in []Input, out *[]Effect) {
	if m.stage == failed {
		return
	}
	w := work{m, in, out}
	if m.anew && m.Searching() && !m.waiting && m.probing == 0 {
		w.searchAnew()
	}
	for w.advance() {
	}
	if m.news {
		m.news = false
		w.emit(Effect{Kind: Publish, Level: m.known})
	}
}

// take notes an event.
func (m work) take(ev Event) {
	switch ev.Kind {
	case Want:
		m.setWant(ev.Level)
	case Mapped:
		m.takeMap(ev)
	case News:
		m.hear(ev.Input, ev.Level, ev.Flag, ev.More)
	case Probed:
		m.probed(ev.Input, ev.Mask)
	case Digested:
		m.digested(ev.Input, ev.Flag)
	case Matched:
		m.waiting = false
		if ev.Flag {
			m.foundAt = m.stage
			m.end(found)
			m.raise(AllKeys, true)
		}
	case Joined:
		m.waiting = false
		if ev.Flag {
			m.dropResults()
			m.leave(running)
		}
	case Loaded:
		if ev.Flag {
			m.finish()
		} else {
			m.stage = m.foundAt
		}
	case Ran:
		m.finish()
	case Failed:
		m.stage = failed
		m.emit(Effect{Kind: Abandon})
	case Added:
		m.add(ev.Mask, ev.Later)
	case Recheck:
		m.recheck()
	case Lost:
		m.lost(ev.Input, ev.Flag)
	}
}

func (m work) emit(e Effect) { *m.out = append(*m.out, e) }

// raise publishes that level is known; with again, also when it was already,
// because there are new keys. A demand for AllKeys is answered by either: who
// wants still more asks again.
func (m work) raise(level Level, again bool) {
	if level <= m.known && !again {
		return
	}
	m.known = max(m.known, level)
	if m.known < AllKeys && m.want == AllKeys {
		m.want = Keys
	}
	m.Machine.news = true
}

// dropResults takes back that all inputs were asked for their results.
func (m work) dropResults() {
	if m.asked == Result {
		m.asked = Nothing
		m.emit(Effect{Kind: Drop})
	}
}

func (m work) finish() {
	m.stage = done
	if m.n > 0 {
		m.emit(Effect{Kind: Drop})
	}
	m.raise(Result, false)
}

// alive are the managers that can still hold a match.
func (m *Machine) alive() Managers { return m.managers &^ m.dead }

// Full are the managers in which every input is matched.
func (m *Machine) Full(in []Input) Managers {
	full := m.managers
	for i := range in {
		full &= in[i].matched
	}
	return full
}

// setWant takes a new demand. A lower one abandons what it no longer covers.
func (m work) setWant(w Level) {
	lower := w < m.want
	m.want = w
	if !lower || m.stage == done {
		return
	}
	if m.stage >= loading || w <= m.known || w == Nothing {
		m.abandon()
	}
}

// abandon forgets what is under way, not what is known.
func (m work) abandon() {
	m.emit(Effect{Kind: Abandon})
	if m.waiting && m.stage < missed {
		m.fresh = true
	}
	m.mapping, m.waiting, m.asked, m.joined = false, false, Nothing, false
	m.pending, m.probing = 0, 0
	for i := range m.in {
		in := &m.in[i]
		in.awaited, in.ahead = false, false
		if in.content.awaited() {
			in.content = possible
		}
		if in.probing {
			in.probing, in.unprobed, m.reprobe = false, true, true
		}
	}
	if m.stage == loading || m.stage == inputs || m.stage == running {
		m.stage = m.base
	}
}

// end ends the search. Found, what it still asks for is of no use any more.
// Missed, the results that were asked for content keys will be asked for to run:
// to cancel them now would be to run them twice. If nobody wants the edge to run,
// the demand for it falls, and that takes them back. Probes and digests that are
// unanswered are left to be answered, for another search.
func (m work) end(to stage) {
	m.stage = to
	switch {
	case to == found && (m.pending > 0 || m.probing > 0 || m.mapping):
		m.abandon()
	case to == found && m.n > 0:
		m.asked = Nothing
		m.emit(Effect{Kind: Drop})
	case m.pending > 0:
		for i := range m.in {
			in := &m.in[i]
			if in.awaited {
				in.awaited = false
				m.pending--
			}
			if in.content == wanted {
				in.content = possible
				m.pending--
			}
		}
	}
}

// leave goes beyond the search, to which an Abandon comes back.
func (m *Machine) leave(to stage) {
	if m.stage == found || m.stage == missed {
		m.base = m.stage
	}
	m.stage = to
}

// takeMap notes a cache map: the first one tells the operation's digest, the
// further ones bring a key each.
func (m work) takeMap(ev Event) {
	m.mapping = false
	m.more = ev.More
	m.fresh = true
	if m.mapped {
		m.stage = gather
		m.emit(Effect{Kind: FormKey})
		m.raise(m.rootLevel(), true)
		return
	}
	m.mapped = true
	for i := range m.in {
		if ev.Contents != nil && ev.Contents[i] {
			m.in[i].content = possible
		}
		if m.in[i].known >= Keys {
			m.probe(int32(i))
		}
	}
}

// rootLevel is what an edge without inputs knows once it has a key.
func (m *Machine) rootLevel() Level {
	if m.more {
		return Keys
	}
	return AllKeys
}

func (m work) hear(i int32, level Level, unprobed, forgot bool) {
	in := &m.in[i]
	if in.known < Keys && level >= Keys {
		m.withKeys++
	}
	solved := in.known < Result && level == Result
	if solved {
		m.withResult++
	}
	in.known = max(in.known, level)
	if need := m.Needs(in); forgot && in.known < need {
		m.emit(Effect{Kind: Ask, Input: i, Level: need})
	}
	switch {
	case in.awaited && (unprobed || level >= AllKeys):
		in.awaited = false
		m.pending--
	case in.awaited:
		// The keys that answered have been probed, or the input knew all keys until
		// managers were added to it.
		m.emit(Effect{Kind: Ask, Input: i, Level: AllKeys})
	}
	if !m.mapped {
		return
	}
	if solved && in.content == wanted {
		in.content = digesting
		m.emit(Effect{Kind: Digest, Input: i})
	}
	if unprobed {
		m.probe(i)
	}
	m.exhaust(in)
	m.askAhead(i)
}

// Needs is what an input was asked for, but for AllKeys.
func (m *Machine) Needs(in *Input) Level {
	if in.content == wanted {
		return Result
	}
	return m.asked
}

// probe asks the caches about an input, or notes that they are to be asked when
// their answer can matter again. An input has one Probe at a time.
func (m work) probe(i int32) {
	in := &m.in[i]
	in.unprobed = true
	if in.probing {
		return
	}
	if m.stage >= missed || m.alive() == 0 || m.want <= m.known {
		m.reprobe = true
		return
	}
	in.unprobed, in.probing = false, true
	m.probing++
	m.emit(Effect{Kind: Probe, Input: i})
}

func (m work) probed(i int32, mask Managers) {
	in := &m.in[i]
	in.probing = false
	m.probing--
	mask &= m.managers // of others, Added is still to be told
	if mask != 0 {
		m.fresh = true
	}
	in.matched |= mask
	if in.unprobed {
		m.probe(i)
	}
	m.exhaust(in)
	m.askAhead(i)
}

func (m work) digested(i int32, ok bool) {
	in := &m.in[i]
	if in.content.awaited() {
		m.pending--
	}
	in.content = settled
	if ok {
		m.probe(i)
	}
	m.exhaust(in)
}

// exhaust notes that an input can bring no more keys.
func (m *Machine) exhaust(in *Input) {
	if in.exhausted || in.known < AllKeys || in.probing || in.unprobed || in.content == possible || in.content.awaited() {
		return
	}
	in.exhausted = true
	m.dead |= m.managers &^ in.matched
}
