package llb

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/moby/buildkit/solver/pb"
)

// checkOp checks what an op says by itself. After it, the parts of its kind that the
// rest of the engine relies on are there and in range.
func checkOp(o *pb.Op) error {
	if err := checkPlatform(o.Platform); err != nil {
		return err
	}
	n := len(o.Inputs)
	switch k := o.Op.(type) {
	case *pb.Op_Source:
		return checkSource(k.Source, n)
	case *pb.Op_Exec:
		return checkExec(k.Exec, n)
	case *pb.Op_File:
		return checkFile(k.File, n)
	case *pb.Op_Build:
		return checkBuild(k.Build, n)
	case *pb.Op_Merge:
		return checkMerge(k.Merge, n)
	case *pb.Op_Diff:
		return checkDiff(k.Diff, n)
	case *pb.Op_Passthrough:
		return checkPassthrough(k.Passthrough, n)
	case nil:
		if hasUnknown(o) {
			return errors.New("this version does not know this kind of op: a newer one may")
		}
		return errors.New("it says nothing to do; only the last op of a definition may")
	default:
		return fmt.Errorf("this version does not know ops of type %T", k)
	}
}

// outputs is how many results an op has. It has been checked.
func outputs(o *pb.Op) int {
	n := 1
	switch k := o.Op.(type) {
	case *pb.Op_Exec:
		n = 0
		for _, m := range k.Exec.Mounts {
			if hasOutput(m) {
				n++
			}
		}
	case *pb.Op_File:
		n = 0
		for _, a := range k.File.Actions {
			if a.Output != int64(pb.SkipOutput) {
				n++
			}
		}
	case *pb.Op_Passthrough:
		n = len(k.Passthrough.Outputs)
	}
	return n
}

// outputSet checks that outputs are numbered from 0 without gaps.
type outputSet map[int64]bool

func (s outputSet) add(i int64) error {
	if i < 0 {
		return fmt.Errorf("output %d: outputs are numbered from 0; -1 stands for none", i)
	}
	if s[i] {
		return fmt.Errorf("output %d is given twice", i)
	}
	s[i] = true
	return nil
}

func (s outputSet) complete() error {
	for i := range int64(len(s)) {
		if !s[i] {
			return fmt.Errorf("it has %d outputs, but none is number %d", len(s), i)
		}
	}
	return nil
}

// checkInput checks the number of an input that may be absent.
func checkInput(i int64, inputs int) error {
	if i == int64(pb.Empty) {
		return nil
	}
	return checkPresentInput(i, inputs)
}

func checkPresentInput(i int64, inputs int) error {
	if i < 0 || i >= int64(inputs) {
		return fmt.Errorf("input %d is wanted of an op that has %d", i, inputs)
	}
	return nil
}

var platformWord = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

func checkPlatform(p *pb.Platform) error {
	if p == nil {
		return nil
	}
	for _, w := range []string{p.OS, p.Architecture, p.Variant} {
		if !platformWord.MatchString(w) {
			return fmt.Errorf("platform: %q is not a name of a system, an architecture or a variant, as in linux/arm64/v8", w)
		}
	}
	return nil
}

func checkSource(s *pb.SourceOp, inputs int) error {
	if inputs != 0 {
		return fmt.Errorf("a source has no inputs, this one has %d", inputs)
	}
	scheme, rest, ok := strings.Cut(s.Identifier, "://")
	if !ok || scheme == "" || rest == "" {
		return fmt.Errorf("source %q: it should look like docker-image://NAME, local://NAME or https://HOST/PATH", s.Identifier)
	}
	if strings.ContainsFunc(s.Identifier, unicode.IsControl) {
		return fmt.Errorf("source %q has control characters in it", s.Identifier)
	}
	return nil
}

func checkMerge(m *pb.MergeOp, inputs int) error {
	if inputs == 0 {
		return errors.New("a merge needs inputs")
	}
	if len(m.Inputs) != inputs {
		return fmt.Errorf("it merges %d trees, and has %d inputs", len(m.Inputs), inputs)
	}
	for i, in := range m.Inputs {
		if err := checkPresentInput(in.GetInput(), inputs); err != nil {
			return fmt.Errorf("tree %d: %w", i, err)
		}
	}
	return nil
}

func checkDiff(d *pb.DiffOp, inputs int) error {
	if d.Lower == nil || d.Upper == nil {
		return errors.New("a diff needs a lower and an upper tree (-1 stands for the empty one)")
	}
	if err := checkInput(d.Lower.Input, inputs); err != nil {
		return fmt.Errorf("lower tree: %w", err)
	}
	if err := checkInput(d.Upper.Input, inputs); err != nil {
		return fmt.Errorf("upper tree: %w", err)
	}
	// Both may be one input: the difference of a tree and itself.
	used := map[int64]bool{d.Lower.Input: true, d.Upper.Input: true}
	delete(used, int64(pb.Empty))
	if len(used) != inputs {
		return fmt.Errorf("the diff uses %d of its %d inputs", len(used), inputs)
	}
	return nil
}

func checkBuild(b *pb.BuildOp, inputs int) error {
	if b.Builder != int64(pb.LLBBuilder) {
		return fmt.Errorf("builder %d: only LLB can be built by an op (builder %d)", b.Builder, pb.LLBBuilder)
	}
	in, ok := b.Inputs[pb.LLBDefinitionInput]
	if !ok || in == nil {
		return fmt.Errorf("it has no input called %q, which holds the definition to build", pb.LLBDefinitionInput)
	}
	for name, in := range b.Inputs {
		if err := checkPresentInput(in.GetInput(), inputs); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
	}
	return checkPath("definition file", b.Attrs[pb.AttrLLBDefinitionFilename])
}

func checkPassthrough(p *pb.PassthroughOp, inputs int) error {
	if len(p.Outputs) == 0 {
		return errors.New("a passthrough needs outputs")
	}
	for i, in := range p.Outputs {
		if err := checkPresentInput(in, inputs); err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
	}
	return nil
}

func checkPath(what, p string) error {
	if strings.ContainsRune(p, 0) {
		return fmt.Errorf("%s %q has a zero byte in it", what, p)
	}
	return nil
}

func checkLocations(src *pb.Source) error {
	if src == nil {
		return nil
	}
	for i, info := range src.Infos {
		if info == nil {
			return fmt.Errorf("file %d of the source map is missing", i)
		}
	}
	for dgst, locs := range src.Locations {
		for _, loc := range locs.GetLocations() {
			if loc == nil || loc.SourceIndex < 0 || int(loc.SourceIndex) >= len(src.Infos) {
				return fmt.Errorf("the source map places %q in file %d; it has %d files", dgst, loc.GetSourceIndex(), len(src.Infos))
			}
		}
	}
	return nil
}
