package view_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/engine/why/view"
	"github.com/tenonbuild/tenon/internal/check"
)

// graphData is where the page's graph has the steps, and its lines.
type graphData struct {
	Builds []struct {
		Width, Height int
		Steps         []struct{ X, Y int }
		Lines         [][]int
	}
	Size [3]int
}

// randomGraph has steps that stand on up to three others; those of a damaged one may stand on
// later steps, and on themselves.
func randomGraph(r *rand.Rand, n int, damaged bool) view.Build {
	b := build("1", make([]string, n)...)
	for i := range b.Build.Steps {
		s := &b.Build.Steps[i]
		s.Inputs = nil
		for range r.IntN(4) {
			on := n
			if !damaged {
				on = max(1, i)
			}
			s.Inputs = append(s.Inputs, why.Input{Step: b.Build.Steps[max(0, min(n-1, on-1-r.IntN(1+r.IntN(on))))].Digest})
		}
	}
	return b
}

// Each step has its room in the picture, and lines lead downwards and around the steps between.
func TestGraph(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 60 {
		b := randomGraph(r, n, n%5 == 4)
		var d graphData
		check.OK(t, json.Unmarshal([]byte(dataElement.FindStringSubmatch(page(t, b))[1]), &d))
		g, width, height, pitch := d.Builds[0], d.Size[0], d.Size[1], d.Size[2]
		overlaps := func(x, y, w, h int) bool {
			for _, s := range g.Steps {
				if s.Y == y && 2*max(s.X-x, x-s.X) < width+w || max(s.Y-y, y-s.Y) < height && s.Y != y {
					return true
				}
			}
			return false
		}
		for i, s := range g.Steps {
			if 2*s.X < width || 2*(g.Width-s.X) < width || 2*s.Y < height || 2*(g.Height-s.Y) < height {
				t.Errorf("graph %d: step %d is outside", n, i)
			}
			for j, o := range g.Steps[:i] {
				if s.Y == o.Y && max(s.X-o.X, o.X-s.X) < width {
					t.Errorf("graph %d: steps %d and %d overlap", n, j, i)
				}
			}
		}
		for _, l := range g.Lines {
			from, to, via := g.Steps[l[0]], g.Steps[l[1]], l[2:]
			if to.Y <= from.Y || to.Y-from.Y != pitch*(len(via)+1) {
				t.Errorf("graph %d: the line from %v to %v passes %v", n, from, to, via)
			}
			for k, x := range via {
				if overlaps(x, from.Y+pitch*(k+1), 0, 0) {
					t.Errorf("graph %d: the line from step %d to %d crosses a step", n, l[0], l[1])
				}
			}
		}
	}
}

// A line that passes very many layers is drawn straight, and a source that many steps read is
// joined with none of those that stand on another step first.
func TestLinesThatAreLeftOut(t *testing.T) {
	b := build("1", make([]string, 60)...)
	steps := b.Build.Steps
	steps[59].Inputs = append(steps[59].Inputs, why.Input{Step: steps[1].Digest})
	for _, i := range []int{10, 20, 30} {
		steps[i].Inputs = append(steps[i].Inputs, why.Input{Step: steps[0].Digest})
	}
	var d graphData
	check.OK(t, json.Unmarshal([]byte(dataElement.FindStringSubmatch(page(t, b))[1]), &d))
	check.Equal(t, "lines", len(d.Builds[0].Lines), 59+1)
	for _, l := range d.Builds[0].Lines {
		check.Equal(t, "layers that are passed", len(l), 2)
	}
	var out bytes.Buffer
	check.OK(t, view.SVG(&out, b.Build))
	check.Equal(t, "readers are counted", strings.Contains(out.String(), "· +3 readers"), true)
}

// Whatever steps are called: the picture is XML with the same elements.
func TestSVGOfHostileBuild(t *testing.T) {
	elements := func(name string) (all []string, text string) {
		b := build(name, name, "["+name+"] "+name, name+strings.Repeat("x", 1<<20))
		var out bytes.Buffer
		check.OK(t, view.SVG(&out, b.Build))
		if out.Len() > 64<<10 {
			t.Errorf("three steps make %d bytes", out.Len())
		}
		for d := xml.NewDecoder(&out); ; {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				return all, text
			}
			check.OK(t, err)
			switch tok := tok.(type) {
			case xml.StartElement:
				all = append(all, tok.Name.Local)
			case xml.CharData:
				text += string(tok)
			}
		}
	}
	tame, _ := elements("a")
	wild, text := elements(hostile)
	check.Equal(t, "elements", strings.Join(wild, " "), strings.Join(tame, " "))
	check.Equal(t, "the name is there", strings.Contains(text, "</script><script>alert(1)</script>"), true)
}
