package edge

import "fmt"

// Level is how much is known, or wanted, of an edge.
type Level uint8

// The ladder; see the package comment.
const (
	Nothing Level = iota
	Keys
	AllKeys
	Result
)

func (l Level) String() string {
	switch l {
	case Nothing:
		return "nothing"
	case Keys:
		return "keys"
	case AllKeys:
		return "allkeys"
	case Result:
		return "result"
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// Managers is a set of caches: bit m stands for the driver's m-th.
type Managers uint32

// Caches are those that an edge may ask.
type Caches struct {
	// First are asked first.
	First Managers
	// Later are asked when what is known of the inputs without solving any of them has
	// led to no record in the others. An edge without inputs does not ask them.
	Later Managers
}

// EventKind is the closed set of what can happen to an edge.
type EventKind uint8

// The events, and the fields of Event that each uses.
const (
	_        EventKind = iota
	Want               // Level: the highest demand there is now
	Mapped             // More: there are further cache maps; Contents: which inputs can have a content key
	News               // Input, Level: what the input knows; Flag: it has keys that were not probed; More: it knew what it was asked for, and has lost it
	Probed             // Input, Mask: caches in which a key probed leads to this operation; those not Added yet do not count
	Matched            // Flag: keys were found that all inputs share
	Digested           // Input, Flag: the input's content key was computed
	Joined             // Flag: an equal edge's execution is waited for
	Loaded             // Flag: the result was loaded
	Ran                // the result is there
	Failed             // the edge has failed, for good
	Added              // Mask, Later: further caches to ask
	Recheck            // the caches may hold more than when they were asked
	Lost               // Input: its result is gone; negative: none. Flag: so Run, or the execution waited for, has ended; otherwise it answers Digest
)

var eventNames = [...]string{"", "want", "mapped", "news", "probed", "matched", "digested", "joined", "loaded", "ran", "failed", "added", "recheck", "lost"}

func (k EventKind) String() string { return eventNames[k] }

// Event is one thing that happened. Which fields it uses is said at its kind.
type Event struct {
	Kind     EventKind
	Level    Level
	Flag     bool
	More     bool
	Input    int32
	Mask     Managers
	Later    Managers
	Contents []bool // nil: no input can have a content key
}

// EffectKind is the closed set of what a machine asks its driver to do.
type EffectKind uint8

// The effects, and the fields of Effect that each uses.
const (
	_       EffectKind = iota
	CallMap            // call the op's CacheMap, the next index
	Ask                // Input, Level: demand at least that much of an input
	AskAll             // Level: the same of every input
	Drop               // take back all demands on inputs
	Probe              // Input: ask the caches about its keys that were not probed; one at a time
	FormKey            // compute the edge's key: all inputs have theirs
	Match              // find the keys that all inputs share; of a root, those of all cache maps so far
	Digest             // Input: compute its content key from its result
	Join               // look for an equal edge's execution
	Load               // load the best record of the keys found
	Run                // run the op
	Publish            // Level: tell who demands the edge what is known
	Widen              // the Later caches are among those to ask now, about all keys
	Abandon            // cancel all that is under way for the edge, and Drop
)

var effectNames = [...]string{"", "callmap", "ask", "askall", "drop", "probe", "formkey", "match", "digest", "join", "load", "run", "publish", "widen", "abandon"}

func (k EffectKind) String() string { return effectNames[k] }

// Effect is one thing to do. Effects are performed in order.
type Effect struct {
	Kind  EffectKind
	Level Level
	Input int32
}

func (e Effect) String() string {
	switch e.Kind {
	case Ask:
		return fmt.Sprintf("ask %d %s", e.Input, e.Level)
	case AskAll, Publish:
		return e.Kind.String() + " " + e.Level.String()
	case Probe, Digest:
		return fmt.Sprintf("%s %d", e.Kind, e.Input)
	}
	return e.Kind.String()
}
