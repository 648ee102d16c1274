package view

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/tenonbuild/tenon/engine/why"
)

const pink = "#be185d" // of the critical path

// SVG writes the graph of a build as a picture. What is on the critical path is drawn thick.
func SVG(w io.Writer, b *why.Build) error {
	const margin = 12
	l := arrange(b)
	critical, follows := criticalPath(b)
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="%d %d %[1]d %d" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">`+"\n",
		l.width+2*margin, l.height+2*margin, -margin, -margin, l.height+2*margin)
	fmt.Fprintf(out, "<title>%s</title>\n", escaped("Build "+b.Ref))
	fmt.Fprintf(out, `<rect x="%d" y="%[1]d" width="100%%" height="100%%" fill="#fff"/>`+"\n", -margin)
	for _, ln := range l.lines {
		stroke := `stroke="#9aa4ad"`
		if follows[[2]int{ln.from, ln.to}] {
			stroke = `stroke="` + pink + `" stroke-width="3"`
		}
		fmt.Fprintf(out, `<path d="%s" fill="none" %s/>`+"\n", l.path(&ln), stroke)
	}
	for i := range b.Steps {
		l.box(out, b, i, critical[i])
	}
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

// box draws a step. What is in an svg within the svg does not leave it, as wide as the letters
// of whoever looks at it are.
func (l *layout) box(out io.Writer, b *why.Build, i int, critical bool) {
	s := &b.Steps[i]
	stroke := `stroke="#5b646d" stroke-opacity=".4"`
	if critical {
		stroke = `stroke="` + pink + `" stroke-width="3"`
	}
	does, which := titles(s)
	first := ending(s)
	if n := l.unjoined[i]; n > 0 {
		first += fmt.Sprintf(" · +%d readers", n)
	}
	if which != "" {
		first += " · " + which
	}
	x, y := l.x[i]-boxWidth/2, l.y[i]-boxHeight/2
	fmt.Fprintf(out, `<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" %s/>`,
		escaped(clip(s.Name, maxText)+"\n"+ending(s)), x, y, boxWidth, boxHeight, colors[outcome(s)], stroke)
	fmt.Fprintf(out, `<svg x="%d" y="%d" width="%d" height="%d"><text x="8" y="16" fill="#4b5563" font-size="10">%s</text><text x="8" y="32" fill="#111">%s</text></svg></g>`+"\n",
		x, y, boxWidth-6, boxHeight, escaped(fit(first, 36)), escaped(fit(does, 33)))
}

// path draws a line: from layer to layer it leaves downwards and comes from above.
func (l *layout) path(ln *line) string {
	var out strings.Builder
	x, y := l.x[ln.from], l.y[ln.from]+boxHeight/2
	fmt.Fprintf(&out, "M%d %d", x, y)
	curve := func(toX, toY int) {
		half := (y + toY) / 2
		fmt.Fprintf(&out, "C%d %d %d %d %d %d", x, half, toX, half, toX, toY)
		x, y = toX, toY
	}
	for _, via := range ln.via {
		curve(via, y+pitch-boxHeight)
		y += boxHeight
		fmt.Fprintf(&out, "V%d", y)
	}
	curve(l.x[ln.to], l.y[ln.to]-boxHeight/2)
	return out.String()
}

// titles are what a step does, and before it in brackets which of its stage it is.
func titles(s *why.Step) (does, which string) {
	name := strings.Join(strings.Fields(s.Name), " ")
	if rest, found := strings.CutPrefix(name, "["); found {
		if which, does, found := strings.Cut(rest, "] "); found {
			return does, which
		}
	}
	return name, ""
}

// escaped is a text in XML. What XML cannot have becomes U+FFFD.
func escaped(s string) string {
	var out strings.Builder
	xml.EscapeText(&out, []byte(s))
	return out.String()
}
