package why

import "strings"

// factKinds are the kinds of causes that facts of a kind are.
var factKinds = map[FactKind]Kind{
	FactCommand: Command, FactAction: Command, FactEnv: Env,
}

// factsDiffer says which facts of a step differ from those of an earlier run. attrs are what
// the two builds were asked for: a variable that is a build argument of one of them is an
// argument.
func factsDiffer(old, now *Step, oldAttrs, nowAttrs map[string]string) (out []Cause) {
	type id struct {
		kind FactKind
		name string
	}
	was := map[id]string{}
	for _, f := range old.Facts {
		was[id{f.Kind, f.Name}] = f.Value
	}
	seen := map[id]bool{}
	add := func(at id, before, after string, added, removed bool) {
		c := Cause{Kind: factKinds[at.kind], Name: at.name, Old: before, New: after, Added: added, Removed: removed}
		if c.Kind == "" {
			c.Kind, c.Name = Setting, strings.TrimSpace(string(at.kind)+" "+at.name)
		}
		if c.Kind == Env && isArg(at.name, oldAttrs, nowAttrs) {
			c.Kind = Arg
		}
		out = append(out, c)
	}
	for _, f := range now.Facts {
		at := id{f.Kind, f.Name}
		before, had := was[at]
		seen[at] = true
		if !had || before != f.Value {
			add(at, before, f.Value, !had, false)
		}
	}
	for _, f := range old.Facts {
		if at := (id{f.Kind, f.Name}); !seen[at] {
			seen[at] = true
			add(at, f.Value, "", false, true)
		}
	}
	if old.Kind != now.Kind {
		out = append(out, Cause{Kind: Setting, Name: "kind", Old: string(old.Kind), New: string(now.Kind)})
	}
	return out
}

func isArg(name string, attrs ...map[string]string) bool {
	for _, a := range attrs {
		if _, ok := a["build-arg:"+name]; ok {
			return true
		}
	}
	return false
}
