package dockerfile

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// expansion reckons how large a Dockerfile becomes when its variables are expanded. It
// follows sizes only, and no value: each is at least what the conversion makes of it.
type expansion struct {
	program *program
	base    map[string]int // sizes at most of the variables that base images set
	total   int
	// searched is what the search for patterns takes at most: for each, its size times
	// that of the value.
	searched int
}

// sizes are the sizes of variables' values in a stage.
type sizes struct {
	of  map[string]int
	sum int // of names and values
}

func (s *sizes) set(name string, size int) {
	if old, ok := s.of[name]; ok {
		s.sum -= old + len(name)
	}
	s.of[name] = size
	s.sum += size + len(name)
}

func (s *sizes) clone() *sizes { return &sizes{of: maps.Clone(s.of), sum: s.sum} }

// globals reckons the arguments before the first stage.
func (e *expansion) globals() (*sizes, error) {
	global := &sizes{of: map[string]int{}}
	for _, a := range e.program.args {
		if err := e.args(&a, global, nil); err != nil {
			return nil, parser.WithLocation(err, a.Location())
		}
	}
	return global, nil
}

// check reckons the whole Dockerfile.
func (e *expansion) check() error {
	global, err := e.globals()
	if err != nil {
		return err
	}
	stages := map[string]*stage{}
	for _, st := range e.program.stages {
		now := &stage{env: &sizes{of: map[string]int{}}}
		for name, size := range e.base {
			now.env.sum += len(name) + size
		}
		if base := stages[strings.ToLower(st.BaseName)]; base != nil {
			now.env = base.env.clone()
			if err := e.commands(base.onbuild, now, global); err != nil {
				return err
			}
		}
		err := e.add(e.word(st.BaseName, global) + e.word(st.Platform, global))
		if err != nil {
			return parser.WithLocation(err, st.Location)
		}
		if err := e.commands(st.Commands, now, global); err != nil {
			return err
		}
		if st.Name != "" {
			stages[strings.ToLower(st.Name)] = now
		}
	}
	return nil
}

// stage is what is known of a stage.
type stage struct {
	env     *sizes
	onbuild []instructions.Command
}

func (e *expansion) commands(cmds []instructions.Command, st *stage, global *sizes) error {
	for _, cmd := range cmds {
		if ob, ok := cmd.(*instructions.OnbuildCommand); ok {
			if t, err := trigger(ob.Expression); err == nil {
				st.onbuild = append(st.onbuild, t)
			}
		}
		if err := e.command(cmd, st.env, global); err != nil {
			return parser.WithLocation(err, cmd.Location())
		}
	}
	return nil
}

func (e *expansion) command(cmd instructions.Command, env, global *sizes) error {
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		return e.args(c, env, global)
	case *instructions.EnvCommand:
		return e.env(c, env)
	case *instructions.OnbuildCommand: // expanded by who builds on it
		return e.add(len(c.Expression))
	case *instructions.RunCommand:
		n := e.text(cmd, env)
		for _, f := range c.Files {
			n += len(f.Data)
		}
		// The environment is in the step, and its arguments are in the history.
		return e.add(n + 2*env.sum)
	case *instructions.CopyCommand:
		return e.add(e.text(cmd, env) + e.contents(c.SourceContents, env))
	case *instructions.AddCommand:
		return e.add(e.text(cmd, env) + e.contents(c.SourceContents, env))
	}
	return e.add(e.text(cmd, env))
}

// text is the size of an instruction as it was written, expanded.
func (e *expansion) text(cmd instructions.Command, env *sizes) int {
	if s, ok := cmd.(fmt.Stringer); ok {
		return e.word(s.String(), env)
	}
	return 0
}

func (e *expansion) contents(files []instructions.SourceContent, env *sizes) int {
	n := 0
	for _, f := range files {
		n = plus(n, e.word(f.Data, env))
	}
	return n
}

func (e *expansion) env(c *instructions.EnvCommand, env *sizes) error {
	found := make([]int, len(c.Env))
	for i, kv := range c.Env {
		size, err := e.value(kv.Key, kv.Value, env)
		if err != nil {
			return err
		}
		found[i] = size
	}
	for i, kv := range c.Env {
		env.set(kv.Key, found[i])
	}
	return nil
}

func (e *expansion) args(c *instructions.ArgCommand, env, global *sizes) error {
	for _, kv := range c.Args {
		given, ok := e.program.given[kv.Key]
		switch {
		case ok:
			env.set(kv.Key, len(given))
		case kv.Value != nil:
			size, err := e.value(kv.Key, *kv.Value, env)
			if err != nil {
				return err
			}
			env.set(kv.Key, size)
		case global != nil:
			if size, ok := global.of[kv.Key]; ok {
				env.set(kv.Key, size)
			}
		}
	}
	return nil
}

// value reckons what a variable is set to.
func (e *expansion) value(name, word string, env *sizes) (int, error) {
	size := e.word(word, env)
	if size > maxValue {
		return 0, fmt.Errorf("the value of %.100q would have more than %d KiB when the variables in it are expanded", name, maxValue>>10)
	}
	return size, e.add(plus(size, size)) // also in the history
}

func (e *expansion) add(n int) error {
	if e.searched > maxSearched {
		return fmt.Errorf("up to here the patterns of ${NAME#PATTERN}, ${NAME%%PATTERN} and ${NAME/PATTERN/TEXT} take more than %d million comparisons: have a RUN look for them in a file", maxSearched/1_000_000)
	}
	if e.total = plus(e.total, n); e.total > maxExpanded {
		return fmt.Errorf("up to here the Dockerfile would have more than %d MiB when the variables in it are expanded; each RUN has all of its environment", maxExpanded>>20)
	}
	return nil
}

// A name of a variable, as a reference has it after its dollar or brace; and a piece of
// text that is one, or nothing special.
const (
	varName  = `(\p{Nd}+|[\p{L}_][\p{L}\p{Nd}_]*|[@*#?$!-])`
	varPlain = `(?:[^\\$'"/}]|\$[A-Za-z_][A-Za-z_0-9]*)`
)

var (
	varRef = regexp.MustCompile(`^\{?` + varName)
	// What of a value is removed that fits a pattern, or is replaced; in its second
	// group the pattern, if there is nothing special in it but names of variables, also
	// within quotes.
	varPattern = regexp.MustCompile(`\$\{` + varName + `[#%/]+(?:((?:` + varPlain + `|"` + varPlain + `*")*)[/}])?`)
	// What is replaced wherever it is found; by a text, if there is nothing special in
	// that and the pattern.
	varReplace     = regexp.MustCompile(`\$\{` + varName + `//`)
	varReplaceText = regexp.MustCompile(`^(?:\\.|[^\\$'"/}])*/([^\\$'"/}]*)\}`)
)

// word is the size of a text at most in which variables are expanded. Quotes and
// escapes only make it smaller, so each dollar is taken for a reference.
func (e *expansion) word(text string, env *sizes) int {
	n := len(text)
	for i := strings.IndexByte(text, '$'); i >= 0; {
		rest := text[i+1:]
		if m := varRef.FindStringSubmatch(rest); m != nil {
			n = plus(n, e.sizeOf(m[1], env))
		}
		next := strings.IndexByte(rest, '$')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	if !strings.Contains(text, "${") {
		return n
	}
	for _, m := range varPattern.FindAllStringSubmatchIndex(text, -1) {
		size := n
		if m[4] >= 0 {
			size = e.word(text[m[4]:m[5]], env)
		}
		e.searched = plus(e.searched, times(size, e.sizeOf(text[m[2]:m[3]], env)))
	}
	all := n
	for _, m := range varReplace.FindAllStringSubmatchIndex(text, -1) {
		size := e.sizeOf(text[m[2]:m[3]], env)
		if by := varReplaceText.FindStringSubmatch(text[m[1]:]); by != nil {
			all = plus(all, times(size+1, len(by[1])))
		} else if size > 0 {
			// What replaces it may repeat it, and have others like it in it.
			all = times(2*(all+1), n+1)
		}
	}
	return all
}

// sizeOf is 0 for a variable that is not set.
func (e *expansion) sizeOf(name string, env *sizes) int {
	if size, ok := env.of[name]; ok {
		return size
	}
	return e.base[name]
}

// plus and times stay at the largest number there is.
func plus(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

func times(a, b int) int {
	if b != 0 && a > math.MaxInt/b {
		return math.MaxInt
	}
	return a * b
}
