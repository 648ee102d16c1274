package view_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/engine/why/view"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver/client"
)

// hostile is a text that would be markup, or end a script, a string or a line.
const hostile = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>'\"\\ \u2028\u2029\x00\xff]]>{{policy}}"

// build is a build of steps that stand on one another and took a second each, but for every
// third, which starts with the one before.
func build(ref string, names ...string) view.Build {
	epoch := time.Unix(1_700_000_000, 0)
	b := &why.Build{Ref: ref, Begun: epoch, Ended: epoch.Add(time.Hour)}
	logs := &view.Logs{}
	at := epoch
	for i, name := range names {
		s := why.Step{Digest: digest.FromString(fmt.Sprint(name, i)), Name: name, Kind: why.OpExec, Outcome: client.Executed,
			Place: why.PlaceOf(name), Started: at, Ended: at.Add(time.Second), Facts: []why.Fact{{Kind: why.FactCommand, Name: name, Value: name}}}
		if i > 0 {
			s.Inputs = []why.Input{{Step: b.Steps[i-1].Digest}}
		}
		if i%3 != 2 {
			at = s.Ended
		}
		logs.Add(s.Digest, []byte(name))
		b.Steps = append(b.Steps, s)
	}
	return view.Build{Build: b, Explainer: why.NewExplainer(context.Background(), b, nil, nil), Logs: logs}
}

func page(t *testing.T, builds ...view.Build) string {
	t.Helper()
	var out bytes.Buffer
	check.OK(t, view.Page(&out, builds...))
	return out.String()
}

var dataElement = regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`)

// pageData is what the page's script reads.
type pageData struct {
	Builds []struct {
		Steps []struct {
			Name, Log string
			Critical  bool
			Cut       bool
		}
	}
	Rows [][2]int
}

func dataOf(t *testing.T, html string) (d pageData) {
	t.Helper()
	m := dataElement.FindStringSubmatch(html)
	if m == nil {
		t.Fatal("the page has no data")
	}
	check.OK(t, json.Unmarshal([]byte(m[1]), &d))
	return d
}

// Whatever steps are called, told and have written: the page has the same markup.
func TestPageOfHostileBuild(t *testing.T) {
	b := build(hostile, hostile, hostile)
	b.Build.Command, b.Build.Error, b.Build.Revision = []string{hostile}, hostile, hostile
	b.Build.Caches = []why.Cache{{Name: hostile, Error: hostile}}
	b.Build.Steps[0].Outcome, b.Build.Steps[0].Error = client.Outcome(hostile), hostile
	b.Build.Steps[1].Kind, b.Build.Steps[1].Place.File, b.Build.Steps[1].Place.Line = hostile, hostile, 1
	got := page(t, b)
	dt := dataElement.FindStringSubmatch(got)[1]
	if i := strings.IndexAny(dt, "<>&\u2028\u2029"); i >= 0 {
		t.Errorf("the data has %q", dt[i:min(len(dt), i+20)])
	}
	frame := func(html string) string { return dataElement.ReplaceAllString(html, "") }
	check.Equal(t, "markup", frame(got), frame(page(t, build("tame", "a"))))
	name := dataOf(t, got).Builds[0].Steps[1].Name
	check.Equal(t, "name", name, strings.ToValidUTF8(hostile, "\uFFFD"))
}

// The policy names the script and the style that the page has, by their digests, and allows
// nothing else. The script makes no markup of text.
func TestPolicy(t *testing.T) {
	html := page(t, build("1", "a"))
	part := func(expr string) string { return regexp.MustCompile(`(?s)` + expr).FindStringSubmatch(html)[1] }
	sum := func(s string) string {
		d := sha256.Sum256([]byte(s))
		return "sha256-" + base64.StdEncoding.EncodeToString(d[:])
	}
	script := part(`<script>(.*?)</script>`)
	check.Equal(t, "policy", part(`Content-Security-Policy" content="(.*?)"`), fmt.Sprintf(
		"default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", sum(script), sum(part(`<style>(.*?)</style>`))))
	for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "http:", "https:", "fetch(", "import("} {
		if strings.Contains(script, never) {
			t.Errorf("the script has %s", never)
		}
	}
	if m := regexp.MustCompile(`(?i)\s(src|href|on[a-z]+|style)=`).FindString(dataElement.ReplaceAllString(html, "")); m != "" {
		t.Errorf("the page has an attribute %q", m)
	}
}

func TestRowsOfTwoBuilds(t *testing.T) {
	first := build("1", "[1/3] RUN a", "[2/3] RUN b", "[3/3] RUN c")
	for _, c := range []struct {
		name, want string
		second     view.Build
	}{
		{"equal", "[[0 0] [1 1] [2 2]]", build("2", "[1/3] RUN a", "[2/3] RUN b", "[3/3] RUN c")},
		{"one more", "[[0 0] [-1 1] [1 2] [2 3]]", build("2", "[1/4] RUN a", "[2/4] COPY x /", "[3/4] RUN b", "[4/4] RUN c")},
		{"one less", "[[0 0] [1 -1] [2 1]]", build("2", "[1/2] RUN a", "[2/2] RUN c")},
		{"none", "[[0 -1] [1 -1] [2 -1]]", build("2")},
		{"others", "[[0 -1] [1 -1] [2 -1] [-1 0]]", build("2", "[other 1/1] RUN z")},
	} {
		t.Run(c.name, func(t *testing.T) {
			check.Equal(t, "rows", fmt.Sprint(dataOf(t, page(t, first, c.second)).Rows), c.want)
		})
	}
}

// The end of each log is kept, and all of them together are bounded.
func TestLogs(t *testing.T) {
	b := build("1", "short", "long")
	b.Logs.Add(b.Build.Steps[1].Digest, bytes.Repeat([]byte("x"), 200<<10))
	b.Logs.Add(b.Build.Steps[1].Digest, []byte("end"))
	steps := dataOf(t, page(t, b)).Builds[0].Steps
	check.Equal(t, "log", steps[0].Log, "short")
	check.Equal(t, "cut", steps[0].Cut, false)
	check.Equal(t, "cut", steps[1].Cut, true)
	if l := steps[1].Log; len(l) > 64<<10 || !strings.HasSuffix(l, "xxend") {
		t.Errorf("%d bytes of the log are kept, which end with %q", len(l), l[len(l)-5:])
	}

	names := make([]string, 3000)
	for i := range names {
		names[i] = fmt.Sprintf("[%d/%d] RUN %d", i+1, len(names), i)
	}
	b = build("2", names...)
	for i := range b.Build.Steps {
		b.Logs.Add(b.Build.Steps[i].Digest, bytes.Repeat([]byte("y"), 100<<10))
	}
	if n := len(page(t, b)); n > 40<<20 {
		t.Errorf("a page of 3,000 long logs has %d bytes", n)
	}
}

func TestTrace(t *testing.T) {
	b := build(hostile, "a", "b", "c", "d", hostile)
	var out bytes.Buffer
	check.OK(t, view.Trace(&out, b))
	var got struct {
		TraceEvents []struct {
			Name, Cat, Ph string
			Ts, Dur       int64
			Pid, Tid      int
			Args          map[string]any
		}
	}
	check.OK(t, json.Unmarshal(out.Bytes(), &got))
	critical, all := 0, 0
	free := map[int]int64{} // when a thread is free
	for _, e := range got.TraceEvents {
		switch e.Ph {
		case "M":
			if e.Args["name"] == nil {
				t.Errorf("%s has no name", e.Name)
			}
		case "X":
			if e.Ts < free[e.Tid] || e.Dur < 0 || e.Name == "" {
				t.Errorf("event %+v overlaps another of its thread", e)
			}
			free[e.Tid] = e.Ts + e.Dur
			if e.Tid == 1 {
				critical++
				check.Equal(t, "category", e.Cat, "critical")
			} else {
				all++
			}
		default:
			t.Errorf("event %+v is of no known phase", e)
		}
	}
	check.Equal(t, "steps", all, 5)
	check.Equal(t, "steps of the critical path", critical, len(why.Critical(b.Build)))
}

func TestDot(t *testing.T) {
	b := build(hostile, "a \"b\"\n\\", hostile)
	b.Build.Steps[1].Inputs = append(b.Build.Steps[1].Inputs, b.Build.Steps[1].Inputs[0], why.Input{Step: "sha256:nowhere"})
	var out bytes.Buffer
	check.OK(t, view.Dot(&out, b.Build))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	check.Equal(t, "lines", len(lines), 7) // two of the graph, two nodes, an edge, the end, the defaults
	check.Equal(t, "a node", lines[3], `  s0 [label="a \"b\" \\\nexecuted, 1.0s", fillcolor="#fde3c1", penwidth=3, color="#be185d"];`)
	check.Equal(t, "an edge", lines[5], `  s0 -> s1 [penwidth=3, color="#be185d"];`)
}
