package solver_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A case is written as a script: a line for each cache, vertex, round and job,
// and on it words, most of them NAME=VALUE. What follows # is for people. A
// failing seed prints itself so, and testdata/sim holds those that once failed.
//
//	seed=7 parallelism=2 fails=load,pruned
//	cache slow 3ms
//	vertex v0 root=x keys=a/b map=1ms run=20ms
//	vertex v1 keys=A in=v0.0/s:content:3ms builds=v0.1 when=at-once outputs=2
//	round fresh
//	job at=5ms ignore=v0 build=v1.1@3ms:cancel=20ms discard=40ms watch=0s

var simSubsNames = [...]string{"in-turn", "at-once", "in-cache-map", "behind"}

var simPassesNames = [...]string{"value", "itself", "twin"}

func (c *simCase) String() string {
	o := newSimOracle(c)
	var b strings.Builder
	fmt.Fprintf(&b, "seed=%d parallelism=%d", c.seed, c.parallel)
	var fails []string
	for i, name := range simFaultsNames {
		if c.faults&(1<<i) != 0 {
			fails = append(fails, name)
		}
	}
	writeIf(&b, len(fails) > 0, "fails=%s", strings.Join(fails, ","))
	writeIf(&b, c.losses > 0, "losses=%d", c.losses)
	writeIf(&b, c.unseen, "unseen")
	for _, ca := range c.caches {
		fmt.Fprintf(&b, "\ncache %s %v", simCacheNames[ca.kind], ca.wait)
	}
	for i := range c.vertices {
		fmt.Fprintf(&b, "\n%s # %s", c.vertices[i].text(c), o.value(simEdge{i, 0}))
	}
	for _, r := range c.rounds {
		b.WriteString("\nround")
		writeIf(&b, r.fresh, "fresh")
		writeIf(&b, r.closeAt > 0, "close=%v", r.closeAt)
		for k := range r.jobs {
			b.WriteString("\n" + r.jobs[k].text(c))
		}
	}
	return b.String()
}

func writeIf(b *strings.Builder, cond bool, format string, args ...any) {
	if cond {
		fmt.Fprintf(b, " "+format, args...)
	}
}

func (c *simCase) edge(e simEdge) string {
	return fmt.Sprintf("%s.%d", c.vertices[e.vertex].id, e.output)
}

func (v *simVertex) text(c *simCase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "vertex %s", v.id)
	writeIf(&b, v.root, "root=%s", v.value)
	writeIf(&b, true, "keys=%s", strings.Join(v.keys, "/"))
	for _, in := range v.in {
		writeIf(&b, true, "in=%s/%s", c.edge(in.simEdge), in.selector)
		if in.content {
			fmt.Fprintf(&b, ":content:%v", in.digestTime)
			if in.noContent != sound {
				b.WriteString(":" + simFaultNames[in.noContent])
			}
		}
	}
	for _, s := range v.subs {
		writeIf(&b, true, "builds=%s", c.edge(s))
	}
	writeIf(&b, len(v.subs) > 0, "when=%s", simSubsNames[v.subWhen])
	writeIf(&b, v.outputs > 1, "outputs=%d", v.outputs)
	writeIf(&b, v.noop, "noop")
	writeIf(&b, v.passes > 0, "passes=%s", simPassesNames[v.passes])
	writeIf(&b, v.fault != sound, "fault=%s", simFaultNames[v.fault])
	writeIf(&b, v.weight > 1, "weight=%d", v.weight)
	writeIf(&b, v.deaf, "deaf")
	writeIf(&b, v.reports, "reports")
	writeIf(&b, v.export > 0, "export=%v", v.export == 1)
	writeIf(&b, true, "map=%v run=%v", v.mapDelay, v.delay)
	return b.String()
}

func (j *simJob) text(c *simCase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "job at=%v", j.at)
	writeIf(&b, j.priority > 0, "priority=%d", j.priority)
	for _, v := range j.ignore {
		writeIf(&b, true, "ignore=%s", c.vertices[v].id)
	}
	for _, s := range j.sources {
		writeIf(&b, true, "source=%d", s)
	}
	for _, bu := range j.builds {
		writeIf(&b, true, "build=%s@%v", c.edge(bu.simEdge), bu.at)
		if bu.cancelAt > 0 {
			fmt.Fprintf(&b, ":cancel=%v", bu.cancelAt)
		}
		if bu.export {
			b.WriteString(":export")
		}
	}
	writeIf(&b, j.discardAt > 0, "discard=%v", j.discardAt)
	for _, w := range j.watchers {
		writeIf(&b, true, "watch=%v", w.at)
		if w.stalls {
			b.WriteString(":stalls")
		}
		if w.leave > 0 {
			fmt.Fprintf(&b, ":leave=%v", w.leave)
		}
	}
	writeIf(&b, j.traceAt > 0, "trace=%v", j.traceAt)
	writeIf(&b, j.keep, "keep")
	return b.String()
}

// simParser reads a case. What it does not understand is a panic: scripts are
// part of the tests.
type simParser struct{ c *simCase }

func parseSimCase(text string) *simCase {
	p := &simParser{c: &simCase{}}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			p.line(words)
		}
	}
	return p.c
}

func (p *simParser) line(words []string) {
	c := p.c
	switch words[0] {
	case "cache":
		c.caches = append(c.caches, simCache{kind: simCacheKind(nameIn(simCacheNames[:], words[1])), wait: parseTime(words[2])})
	case "vertex":
		v := simVertex{id: words[1], outputs: 1}
		for _, w := range words[2:] {
			p.vertexWord(&v, w)
		}
		c.vertices = append(c.vertices, v)
	case "round":
		r := simRound{fresh: slices.Contains(words, "fresh")}
		for _, w := range words {
			if at, ok := strings.CutPrefix(w, "close="); ok {
				r.closeAt = parseTime(at)
			}
		}
		c.rounds = append(c.rounds, r)
	case "job":
		var j simJob
		for _, w := range words[1:] {
			p.jobWord(&j, w)
		}
		r := &c.rounds[len(c.rounds)-1]
		r.jobs = append(r.jobs, j)
	default:
		p.head(words)
	}
}

func (p *simParser) head(words []string) {
	for _, w := range words {
		switch name, value, _ := strings.Cut(w, "="); name {
		case "seed":
			p.c.seed = uint64(number(value))
		case "parallelism":
			p.c.parallel = number(value)
		case "losses":
			p.c.losses = number(value)
		case "unseen":
			p.c.unseen = true
		case "fails":
			for f := range strings.SplitSeq(value, ",") {
				p.c.faults |= 1 << nameIn(simFaultsNames[:], f)
			}
		default:
			panic("unknown word: " + w)
		}
	}
}

func (p *simParser) vertexWord(v *simVertex, word string) {
	switch name, value, _ := strings.Cut(word, "="); name {
	case "root":
		v.root, v.value = true, value
	case "keys":
		v.keys = strings.Split(value, "/")
	case "in":
		v.in = append(v.in, p.input(value))
	case "builds":
		v.subs = append(v.subs, p.edge(value))
	case "when":
		v.subWhen = simSubs(nameIn(simSubsNames[:], value))
	case "outputs":
		v.outputs = number(value)
	case "noop":
		v.noop = true
	case "passes":
		v.passes = simPasses(nameIn(simPassesNames[:], value))
	case "fault":
		v.fault = simFault(nameIn(simFaultNames[:], value))
	case "weight":
		v.weight = number(value)
	case "deaf":
		v.deaf = true
	case "reports":
		v.reports = true
	case "export":
		v.export = 1
		if value == "false" {
			v.export = 2
		}
	case "map":
		v.mapDelay = parseTime(value)
	case "run":
		v.delay = parseTime(value)
	default:
		panic("unknown word: " + word)
	}
}

func (p *simParser) input(text string) simInput {
	parts := strings.Split(text, ":")
	e, selector, _ := strings.Cut(parts[0], "/")
	in := simInput{simEdge: p.edge(e), selector: selector}
	if len(parts) > 2 {
		in.content, in.digestTime = true, parseTime(parts[2])
	}
	if len(parts) > 3 {
		in.noContent = simFault(nameIn(simFaultNames[:], parts[3]))
	}
	return in
}

func (p *simParser) jobWord(j *simJob, word string) {
	name, value, _ := strings.Cut(word, "=")
	parts := strings.Split(value, ":")
	switch name {
	case "at":
		j.at = parseTime(value)
	case "priority":
		j.priority = number(value)
	case "ignore":
		j.ignore = append(j.ignore, p.vertex(value))
	case "source":
		j.sources = append(j.sources, number(value))
	case "build":
		e, at, _ := strings.Cut(parts[0], "@")
		b := simBuild{simEdge: p.edge(e), at: parseTime(at), export: slices.Contains(parts, "export")}
		for _, part := range parts {
			if d, ok := strings.CutPrefix(part, "cancel="); ok {
				b.cancelAt = parseTime(d)
			}
		}
		j.builds = append(j.builds, b)
	case "discard":
		j.discardAt = parseTime(value)
	case "watch":
		w := simWatcher{at: parseTime(parts[0]), stalls: slices.Contains(parts, "stalls")}
		for _, part := range parts {
			if d, ok := strings.CutPrefix(part, "leave="); ok {
				w.leave = parseTime(d)
			}
		}
		j.watchers = append(j.watchers, w)
	case "trace":
		j.traceAt = parseTime(value)
	case "keep":
		j.keep = true
	default:
		panic("unknown word: " + word)
	}
}

func (p *simParser) edge(text string) simEdge {
	id, output, _ := strings.Cut(text, ".")
	return simEdge{p.vertex(id), number(output)}
}

func (p *simParser) vertex(id string) int {
	i := slices.IndexFunc(p.c.vertices, func(v simVertex) bool { return v.id == id })
	if i < 0 {
		panic("unknown vertex: " + id)
	}
	return i
}

func nameIn(names []string, name string) int {
	i := slices.Index(names, name)
	if i < 0 {
		panic("unknown name: " + name)
	}
	return i
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func parseTime(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
