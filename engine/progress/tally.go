package progress

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// Tally counts how the steps of a build have ended. It is an Observer. Steps that a
// frontend calls internal are not counted.
type Tally struct {
	outcomes  map[digest.Digest]client.Outcome
	explained bool
}

// Add takes what a message says about steps.
func (t *Tally) Add(st *client.SolveStatus) {
	for _, s := range st.Statuses {
		t.explained = t.explained || s != nil && strings.HasPrefix(s.ID, Why)
	}
	for _, v := range st.Vertexes {
		if v == nil || v.Outcome == "" || !IsStep(v.Name) {
			continue
		}
		if t.outcomes == nil {
			t.outcomes = map[digest.Digest]client.Outcome{}
		}
		t.outcomes[v.Digest] = v.Outcome
	}
}

// IsStep tells what the user wrote from what has to be done for it.
func IsStep(name string) bool {
	for _, other := range []string{"[internal]", "[context ", "[auth]", "exporting ", "importing ", "pushing ", "verifying "} {
		if strings.HasPrefix(name, other) {
			return false
		}
	}
	return true
}

// Why begins the ID of a status that says why its step runs.
const Why = "why: "

// Explained says whether it was said of a step why it runs.
func (t *Tally) Explained() bool { return t.explained }

// String says the counts, as in "6 steps: 2 executed, 1 cached, 3 not needed"; ""
// if there are none.
func (t *Tally) String() string {
	count := map[client.Outcome]int{}
	for _, o := range t.outcomes {
		count[o]++
	}
	var parts []string
	for _, o := range []client.Outcome{client.Executed, client.Cached, client.Shared, client.NotNeeded, client.Failed, client.Canceled} {
		if n := count[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	s := "s"
	if len(t.outcomes) == 1 {
		s = ""
	}
	return fmt.Sprintf("%d step%s: %s", len(t.outcomes), s, strings.Join(parts, ", "))
}
