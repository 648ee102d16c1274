package why

import (
	"regexp"
	"strings"
)

// stepName is how the Dockerfile frontend names steps: "[linux/arm64 build 2/7] RUN make".
// Platform and stage are not always there.
var stepName = regexp.MustCompile(`^\[(?:([^\s\]]+/[^\s\]]+) )?(?:([^\s\]]+) )?(\d+)/(\d+)\] (.*)$`)

// PlaceOf reads the place of a step in its name. It is zero for a step that is of no
// Dockerfile.
func PlaceOf(name string) Place {
	m := stepName.FindStringSubmatch(strings.Join(strings.Fields(name), " "))
	if m == nil {
		return Place{}
	}
	return Place{Platform: m[1], Stage: m[2], Instruction: m[5]}
}

// verb is the first word of an instruction: RUN, COPY.
func (p Place) verb() string {
	verb, _, _ := strings.Cut(p.Instruction, " ")
	return verb
}
