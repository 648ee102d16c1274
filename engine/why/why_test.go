package why_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver/client"
)

// chain is a build of a stage whose steps do what the words say, each on the one before. A
// word that ends with "!" is a step that ran.
func chain(ref string, words ...string) *why.Build {
	b := &why.Build{Version: why.Version, Ref: ref}
	key := ""
	var last digest.Digest
	for i, word := range words {
		text, ran := strings.CutSuffix(word, "!")
		s := why.Step{
			Name: fmt.Sprintf("[%d/%d] RUN %s", i+1, len(words), text), Kind: why.OpExec, Outcome: client.Cached,
			Facts: []why.Fact{{Kind: why.FactCommand, Value: text}}, Ops: []digest.Digest{digest.FromString(text)},
		}
		s.Place = why.PlaceOf(s.Name)
		if ran {
			s.Outcome = client.Executed
		}
		if i > 0 {
			s.Inputs = []why.Input{{Step: last, Keys: []string{key}}}
		}
		key = digest.FromString(key + text).String()
		s.Digest = digest.FromString("vertex" + key)
		last = s.Digest
		b.Steps = append(b.Steps, s)
	}
	return b
}

// said is a report in short: each cause with how many steps have it and follow.
func said(r *why.Report) string {
	var out []string
	for _, g := range r.Causes {
		out = append(out, fmt.Sprintf("%s %s>%s %d+%d", g.Cause.Kind, g.Cause.Old, g.Cause.New, len(g.Steps), len(g.Followed)))
	}
	return strings.Join(out, "; ")
}

func explain(now *why.Build, earlier ...*why.Build) *why.Report {
	return why.NewExplainer(context.Background(), now, earlier, nil).Report()
}

func TestReport(t *testing.T) {
	first := chain("1", "a!", "b!", "c!")
	for _, c := range []struct {
		name, want string
		now        *why.Build
		earlier    []*why.Build
	}{
		{"nothing is kept", "first > 1+2", first, nil},
		{"nothing ran", "", chain("2", "a", "b", "c"), []*why.Build{first}},
		{"one command", "command b>x 1+1", chain("2", "a", "x!", "c!"), []*why.Build{first}},
		{"a step between", "first > 1+1", chain("2", "a", "b", "x!", "c!"), []*why.Build{first}},
		{"a step less", "input [2/3] RUN b>[1/2] RUN a 1+0", chain("2", "a", "c!"), []*why.Build{first}},
		{"two causes", "command a>x 1+2; command c>y 1+0", chain("2", "x!", "b!", "y!"), []*why.Build{first}},
		{"gone", "gone > 1+0", chain("2", "a", "b", "c!"), []*why.Build{first}},
		{"as it was before", "gone > 1+0", chain("3", "a", "b", "c!"), []*why.Build{chain("2", "a", "x!", "c!"), first}},
		{"the nearest", "command c>y 1+0", chain("3", "a", "b", "y!"), []*why.Build{chain("2", "z!", "x!", "c!"), first}},
	} {
		t.Run(c.name, func(t *testing.T) { check.Equal(t, "causes", said(explain(c.now, c.earlier...)), c.want) })
	}
}

// What is kept of builds may be damaged in any way: it is explained somehow, in bounded time.
func TestDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		builds := []*why.Build{chain("1", "a!", "b!", "c!", "d!"), chain("2", "a!", "x!", "c!", "d!"), chain("3", "a!", "x!", "y!", "d!")}
		for range 6 {
			b := builds[r.IntN(3)]
			s := &b.Steps[r.IntN(len(b.Steps))]
			other := &builds[r.IntN(3)].Steps[r.IntN(4)]
			switch r.IntN(7) {
			case 0:
				s.Inputs = append(s.Inputs, why.Input{Step: other.Digest})
			case 1:
				s.Digest = other.Digest
			case 2:
				s.Ops = nil
			case 3:
				s.Facts = nil
			case 4:
				s.Kind = why.OpSource
			case 5:
				s.Inputs = nil
			case 6:
				n := r.IntN(9)
				s.Cached, s.Place = &why.Hit{Content: &n}, other.Place
			}
		}
		report := explain(builds[2], builds[1], builds[0])
		for _, g := range report.Causes {
			_ = g.Cause.String()
		}
	}
}

func TestPlaceOf(t *testing.T) {
	for name, want := range map[string]why.Place{
		"[linux/arm64 build 2/7] RUN make\n all": {Platform: "linux/arm64", Stage: "build", Instruction: "RUN make all"},
		"[stage-1 1/2] COPY a b":                 {Stage: "stage-1", Instruction: "COPY a b"},
		"[3/4] ADD [x] y":                        {Instruction: "ADD [x] y"},
		"[internal] load build context":          {},
		"exporting to image":                     {},
	} {
		check.Equal(t, name, why.PlaceOf(name), want)
	}
}

// A text has no credentials of URLs, wherever in it they are.
func TestRedacted(t *testing.T) {
	for text, want := range map[string]string{
		"https://user:pass@host/x":                                      "https://xxxxx:xxxxx@host/x",
		"[2/3] ADD http://u:p%20@h:9/x /x, ssh://git@h/y https://tok@h": "[2/3] ADD http://xxxxx:xxxxx@h:9/x /x, ssh://xxxxx@h/y https://xxxxx@h",
		"curl https://a:b@c@host/ https://host/@x":                      "curl https://xxxxx:xxxxx@host/ https://host/@x",
		"git@host:repo a@b https://host?q=a@b \x80://é@":                "git@host:repo a@b https://host?q=a@b \x80://xxxxx@",
	} {
		if got := why.Redacted(text); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}
