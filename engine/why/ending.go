package why

import "github.com/tenonbuild/tenon/solver/client"

// Ending says in a sentence how a step ended.
func (e *Explainer) Ending(s *Step) string {
	switch {
	case s.Outcome == client.Cached && s.Cached != nil:
		text := "Loaded from cache " + list(s.Cached.Caches)
		if n := s.Cached.Content; n != nil && *n >= 0 && *n < len(s.Inputs) {
			return text + ": " + e.Name(s.Inputs[*n].Step) + " has the same content as before"
		}
		return text + ": all that it is made of is as before"
	case s.Ran():
		text := "It ran for " + Seconds(s.Took())
		if s.Outcome == client.Failed {
			text = "It failed after " + Seconds(s.Took()) + ": " + oneLine(s.Error)
		}
		if len(s.Asked) > 0 {
			text += "; asked before: " + list(s.Asked)
		}
		return text
	case s.Outcome == client.Shared:
		return "Another build ran it at the same time"
	case s.Outcome == "" || s.Outcome == client.NotNeeded:
		return "It was not needed"
	case s.Outcome == client.Canceled:
		return "It did not end: a step that it stands on failed, or the build was stopped"
	}
	return "It was " + string(s.Outcome)
}
