package edge

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// spec is a scenario: all that a run depends on. It is data, so that it can be
// cut down while it still fails.
type spec struct {
	Vertices []vertexSpec // inputs first
	Stored   []stored     // what caches hold at the start
	Actions  []action     // what comes from outside, in order
	// Evolving: results are saved, and records that do not load are forgotten.
	// Else caches stay as they are, so that what may be run is known exactly.
	Evolving bool
	Order    uint64 // seed of the order in which events arrive
}

// vertexSpec is a vertex. Ops whose name begins with "bad" fail, those whose name
// begins with "id" return their first input, others mix all inputs.
type vertexSpec struct {
	Name     string
	Op       string
	Maps     []string // cache map digests of a root, in place of Op; "rV.N" has the value V
	Inputs   []inputSpec
	Managers Managers
	Later    Managers // of Managers, and of those that are added
	Ignore   bool
	MapFails bool // CacheMap does
}

type inputSpec struct {
	Vertex, Output int
	Selector       string
	Content        bool // it can have a content key
	DigestFails    bool
}

// stored is a key in a cache, with the links that lead to it and its record.
type stored struct {
	Manager int
	Key     string
	Root    bool
	Links   []link
	Record  bool
	Loads   bool
	Created int
}

// link leads from a key to those of an operation that has it as its input.
type link struct {
	From, Selector, Op string
	Input, Output      int
}

// action is something from outside, after so many events.
type action struct {
	At      int
	Kind    string // demand, withdraw, add, release, lose, evict
	Request int    // demand, withdraw: which
	Vertex  int    // demand: of which output; add: to which
	Output  int
	Level   Level
	Mask    Managers
}

func short(parts ...string) string {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	return fmt.Sprintf("%x", h.Sum64())
}

// value is what an output of a vertex is, by its inputs' values.
func (v *vertexSpec) value(output int, in []string) string {
	if len(v.Inputs) == 0 {
		name, _, _ := strings.Cut(v.Maps[0], ".")
		return fmt.Sprintf("%s/%d", name, output)
	}
	if strings.HasPrefix(v.Op, "id") {
		return in[0]
	}
	parts := []string{v.Op, fmt.Sprint(output)}
	for i, s := range in {
		parts = append(parts, s, v.Inputs[i].Selector)
	}
	return short(parts...)
}

func contentKey(in *inputSpec, value string) string { return "c:" + in.Selector + ":" + value }

func rootKey(digest string, output int) string { return fmt.Sprintf("%s@%d", digest, output) }

// definition names a vertex by the keys of its inputs.
func (v *vertexSpec) definition(first func(i int) (id, selector string)) string {
	parts := []string{v.Op}
	for i := range v.Inputs {
		id, sel := first(i)
		parts = append(parts, id, sel)
	}
	return v.Op + ":" + short(parts...)
}

func outputKey(definition string, output int) string { return fmt.Sprintf("%s@%d", definition, output) }

func (sp *spec) bad(v int) bool { return strings.HasPrefix(sp.Vertices[v].Op, "bad") }

// generate makes a scenario.
func generate(seed uint64) *spec {
	r := rand.New(rand.NewPCG(seed, 1))
	sp := &spec{Order: seed, Evolving: r.IntN(5) < 2}
	managers := 1 + r.IntN(3)
	n := 1 + r.IntN(4)
	if r.IntN(3) > 0 {
		n = 2 + r.IntN(9)
	}
	failing := r.IntN(4) == 0
	for i := range n {
		sp.Vertices = append(sp.Vertices, sp.vertex(r, i, managers, failing))
	}
	for range r.IntN(4) {
		sp.past(r, managers)
	}
	sp.demands(r, managers)
	return sp
}

func (sp *spec) vertex(r *rand.Rand, i, managers int, failing bool) vertexSpec {
	v := vertexSpec{Name: fmt.Sprintf("v%d", i), Managers: 1 | Managers(r.IntN(1<<managers)), Ignore: r.IntN(12) == 0}
	if r.IntN(3) == 0 {
		v.Later = Managers(r.IntN(1<<managers)) &^ 1
	}
	v.MapFails = failing && r.IntN(12) == 0
	if i == 0 || r.IntN(4) == 0 {
		value := r.IntN(3)
		for range 1 + max(0, r.IntN(6)-3) {
			v.Maps = append(v.Maps, fmt.Sprintf("r%d.%d", value, r.IntN(4)))
		}
		return v
	}
	inputs := 1 + r.IntN(3)
	if r.IntN(8) == 0 {
		inputs += r.IntN(4)
	}
	v.Op = fmt.Sprintf("%s%d", []string{"id", "op", "op", "op"}[r.IntN(4)], r.IntN(3))
	if failing && r.IntN(6) == 0 {
		v.Op = fmt.Sprintf("bad%d", r.IntN(2))
	}
	for range inputs {
		in := inputSpec{Vertex: r.IntN(i), Content: r.IntN(3) == 0}
		if r.IntN(2) == 0 { // deep rather than flat
			in.Vertex = i - 1
		}
		if r.IntN(5) == 0 {
			in.Output = 1
		}
		if r.IntN(6) == 0 {
			in.Selector = "s"
		}
		in.DigestFails = in.Content && r.IntN(10) == 0
		v.Inputs = append(v.Inputs, in)
	}
	return v
}

// past fills the caches from an earlier build, in which some roots, and some
// operations, were others, and of which not all was kept.
func (sp *spec) past(r *rand.Rand, managers int) {
	old := make([]vertexSpec, len(sp.Vertices))
	copy(old, sp.Vertices)
	for i := range old {
		if len(old[i].Inputs) > 0 {
			if r.IntN(12) == 0 {
				old[i].Op = fmt.Sprintf("op%d", r.IntN(3))
			}
			continue
		}
		if r.IntN(3) == 0 {
			name, _, _ := strings.Cut(old[i].Maps[0], ".")
			if r.IntN(2) == 0 {
				name = fmt.Sprintf("r%d", r.IntN(3))
			}
			old[i].Maps = []string{fmt.Sprintf("%s.%d", name, r.IntN(4))}
		}
	}
	keep := 1 + r.IntN(10)
	records := r.IntN(10)
	keys, values := map[[2]int]string{}, map[[2]int]string{}
	for i := range old {
		v := &old[i]
		for out := range 2 {
			in := make([]string, len(v.Inputs))
			for j, s := range v.Inputs {
				in[j] = values[[2]int{s.Vertex, s.Output}]
			}
			id := [2]int{i, out}
			values[id] = v.value(out, in)
			st := stored{Manager: r.IntN(managers), Root: len(v.Inputs) == 0}
			if st.Root {
				m := v.Maps[len(v.Maps)-1]
				if sp.Evolving {
					m = v.Maps[r.IntN(len(v.Maps))]
				}
				st.Key = rootKey(m, out)
			} else {
				st.Key = outputKey(v.definition(func(j int) (string, string) {
					s := v.Inputs[j]
					return keys[[2]int{s.Vertex, s.Output}], s.Selector
				}), out)
				for j, s := range v.Inputs {
					if r.IntN(12) > 0 {
						st.Links = append(st.Links, link{keys[[2]int{s.Vertex, s.Output}], s.Selector, v.Op, j, out})
					}
					if s.Content && r.IntN(4) > 0 {
						st.Links = append(st.Links, link{contentKey(&s, in[j]), "", v.Op, j, out})
					}
				}
			}
			keys[id] = st.Key
			if r.IntN(10) >= keep || st.Root && !sp.Evolving && sp.earlyMap(st.Key) {
				continue
			}
			st.Record, st.Loads, st.Created = r.IntN(10) < records, r.IntN(4) > 0, r.IntN(5)
			sp.Stored = append(sp.Stored, st)
		}
	}
}

// earlyMap reports whether a key is that of a cache map of a root which has a
// further one. If a cache has it, it depends on who comes first, one who wants
// keys or one who wants the result, whether the further map is ever asked for.
func (sp *spec) earlyMap(key string) bool {
	for _, v := range sp.Vertices {
		for i := range max(0, len(v.Maps)-1) {
			if key == rootKey(v.Maps[i], 0) || key == rootKey(v.Maps[i], 1) {
				return true
			}
		}
	}
	return false
}

// demands makes what comes from outside.
func (sp *spec) demands(r *rand.Rand, managers int) {
	n := len(sp.Vertices)
	at := 0
	spread := 1 + r.IntN(20)
	for req := range 1 + r.IntN(1+r.IntN(6)) {
		v := n - 1
		if r.IntN(2) == 0 {
			v = r.IntN(n)
		}
		level := Result
		if r.IntN(4) == 0 {
			level = Keys + Level(r.IntN(2))
		}
		at += r.IntN(spread)
		sp.Actions = append(sp.Actions, action{At: at, Kind: "demand", Request: req, Vertex: v, Output: r.IntN(2) * r.IntN(2), Level: level})
		if r.IntN(5) < 2 {
			sp.Actions = append(sp.Actions, action{At: at + r.IntN(6*spread), Kind: "withdraw", Request: req})
		}
	}
	if r.IntN(4) == 0 {
		for range 1 + r.IntN(3) {
			mask := Managers(1) << r.IntN(managers)
			when := r.IntN(5 * spread)
			below := r.IntN(2) == 0
			v := r.IntN(n)
			for i := range v + 1 {
				if i == v || below {
					sp.Actions = append(sp.Actions, action{At: when, Kind: "add", Vertex: i, Mask: mask})
				}
			}
		}
	}
	for range r.IntN(4) {
		sp.Actions = append(sp.Actions, action{At: r.IntN(8 * spread), Kind: "release"})
	}
	if r.IntN(2) == 0 {
		for range 1 + r.IntN(6) {
			sp.Actions = append(sp.Actions, action{At: r.IntN(12 * spread), Kind: "lose"})
		}
	}
	if sp.Evolving {
		for range r.IntN(4) {
			sp.Actions = append(sp.Actions, action{At: r.IntN(8 * spread), Kind: "evict"})
		}
	}
}

// String lists a scenario for people.
func (sp *spec) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "order %d, evolving %v\n", sp.Order, sp.Evolving)
	for _, v := range sp.Vertices {
		fmt.Fprintf(&b, "  %s = %s%v, managers %b, later %b", v.Name, v.Op, v.Maps, v.Managers, v.Later)
		if v.Ignore {
			b.WriteString(", ignores caches")
		}
		if v.MapFails {
			b.WriteString(", CacheMap fails")
		}
		for _, in := range v.Inputs {
			fmt.Fprintf(&b, "; %s.%d", sp.Vertices[in.Vertex].Name, in.Output)
			if in.Selector != "" {
				b.WriteString(" selector " + in.Selector)
			}
			if in.Content {
				b.WriteString(" content")
			}
			if in.DigestFails {
				b.WriteString(" (fails)")
			}
		}
		b.WriteString("\n")
	}
	for _, s := range sp.Stored {
		fmt.Fprintf(&b, "  cache %d: %s links %v record %v loads %v created %d\n", s.Manager, s.Key, s.Links, s.Record, s.Loads, s.Created)
	}
	for _, a := range sp.Actions {
		switch a.Kind {
		case "demand":
			fmt.Fprintf(&b, "  at %d: request %d wants %s of %s.%d\n", a.At, a.Request, a.Level, sp.Vertices[a.Vertex].Name, a.Output)
		case "add":
			fmt.Fprintf(&b, "  at %d: managers %b for %s\n", a.At, a.Mask, sp.Vertices[a.Vertex].Name)
		default:
			fmt.Fprintf(&b, "  at %d: %s %d\n", a.At, a.Kind, a.Request)
		}
	}
	return b.String()
}
