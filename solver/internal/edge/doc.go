// Package edge decides how one edge of a build graph is solved. It is a pure
// machine: an event goes in, effects come out, and nothing else happens. It
// starts no goroutine, takes no lock, reads no clock, and knows no other edge.
//
// # What an edge climbs
//
// Knowledge only grows, along one ladder:
//
//	Nothing → Keys → AllKeys → Result
//
// At Keys the edge has its definition key, computed from its operation's digest
// and the definition keys of its inputs, and the keys that caches hold for it.
// At AllKeys it has every key that can be found without its own result: where
// that could matter, keys found by what the inputs are (content keys). At Result
// it is done. Demands come down the graph (Want), knowledge comes up (News): an
// edge is stepped when something it can use has changed, and only then. So the
// number of steps an edge costs depends on its own inputs, not on the graph.
//
// # How a match is searched
//
// A cache answers one input at a time: does any key of this input lead to a key
// of this operation? A bit a cache (a mask) says which caches answered yes. A
// cache in which some input can bring no more keys and has no match is dead: it
// cannot hold a match. When all caches are dead the search ends at once, however
// many inputs are still silent. A cache in which every input is matched may hold
// a match, and Match is asked for, which finds the keys that all inputs share.
//
// The search goes from cheap to dear, and each stage waits for all of its
// answers, so that the order of arrival never decides which match wins:
//
//	gather           definition keys of all inputs
//	askLater         the caches that are asked later, if more than keys is wanted
//	nextMap          further cache maps, of an operation without inputs
//	unmatchedKeys    more keys from inputs that have no match
//	unmatchedContent content keys of inputs that still have none: each of them
//	                 can rule every match out
//	matchedKeys      more keys from the inputs that are matched
//	matchedContent   and their content keys
//
// Some caches are slow to answer, and are asked later: after gather, if the others have no
// record by then, and who wants the edge cannot do with its keys. So what they may spare is
// not solved for content keys, and what the others have by its definition waits for nobody.
// The search then begins anew.
//
// In unmatchedKeys an input may have to be solved to tell its keys. Inputs that
// have told all of theirs, do not match, and can have a content key are asked for
// their results meanwhile: they are needed however the search ends, to run or for
// their content. So what is independent is solved at the same time. (A demand for
// AllKeys may come from an edge that could do without; then more is solved than
// had to be, never wrongly.) Their content keys still wait for the next stage.
//
// It ends in found or missed. A found edge that is wanted as a result loads; if
// no record can be loaded, the search goes on where it was. A missed edge asks
// its inputs for their results and runs; wanted for less, it waits for their keys
// until it has its own. Before either, Join asks whether an equal edge is being
// solved already: if so, the edge waits for that one's execution like any other
// requester, and nobody's state moves.
//
// A search that has found takes back what it asked of the inputs. One that missed
// does not: results on their way for content keys are needed to run.
//
// Keys that an input learns while the search stands still are probed when it goes
// on. When managers are Added, the search begins anew as soon as no look-up is
// unanswered; if a load or a run is under way, after it has failed or was
// abandoned. Only then does knowledge fall, from AllKeys to Keys, for all keys
// were known in the managers there were.
//
// # Who holds what
//
// The machine holds counters and one small Input for each input. Keys, results,
// digests and records belong to the driver, which performs effects and answers
// each with an event: at once, where it can answer from memory, or later.
//
//	effect      answered by
//	CallMap     Mapped, or Failed
//	Ask, AskAll News, once the input knows that much (for AllKeys, or has new keys)
//	Probe       Probed; an input has one Probe at a time
//	Match       Matched
//	Digest      Digested, or Lost
//	Join        Joined, and if joined then Ran, Failed or Lost
//	Load        Loaded
//	Run         Ran, Failed, Lost, or Recheck if the caches may know more by now
//	FormKey, Publish, Drop, Abandon    nothing
//
// An effect is answered once. News may come at any time, twice, and out of date;
// where they bring less than was asked for, it is asked for again. An edge that
// is wanted for AllKeys and publishes new Keys takes the demand for answered: who
// wants still more asks again.
//
// A result can be lost. Its edge then begins anew, with a machine of its own, and who
// needs the result is told Lost and asks for it again. Until then an edge may believe
// that an input has a result which is being made again. What is known of keys stays.
//
// A demand that goes away is a lower Want. The machine then answers with
// Abandon: the driver cancels what it does for the edge and takes back what the
// edge asked of its inputs. No answer to an abandoned effect may reach the
// machine any more. What is known stays known, so that whoever asks next goes on
// from there; that the work was cancelled is not remembered.
package edge
