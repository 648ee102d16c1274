package dockerfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// What a Dockerfile may ask for. The library that converts it does so in this process
// and cannot be stopped, so what it would cost is reckoned before. People's Dockerfiles
// have a few hundred instructions; an environment variable of more than 128 KiB cannot
// be given to a program.
const (
	// maxParts bounds instructions and what they list: variables, labels, files,
	// mounts. The library's time grows with its square.
	maxParts = 10_000
	maxLines = 200_000
	// maxValue bounds the value of one variable, in bytes.
	maxValue = 1 << 20
	// maxExpanded bounds everything that variables are expanded in, in bytes: the
	// environment counts for each RUN.
	maxExpanded = 64 << 20
	// maxSearched bounds what looking for patterns in the values of variables takes: a
	// second for 10 million, and it cannot be interrupted.
	maxSearched = 100_000_000
	// maxNesting bounds the ${ of one instruction, and so how deep they are nested.
	maxNesting = 10_000
	// maxLookups is how many images a Dockerfile may need beside those that it names:
	// those that the ONBUILD of others name.
	maxLookups = 1000
)

// program is a Dockerfile that has been parsed and found to be within its bounds.
type program struct {
	stages []instructions.Stage
	args   []instructions.ArgCommand // before the first stage
	parts  int
	given  map[string]string // build arguments
}

// parse reads a Dockerfile. One that cannot be read is nil: the conversion says why.
func parse(data []byte, given map[string]string) (*program, error) {
	if n := bytes.Count(data, []byte("\n")); n > maxLines {
		return nil, fmt.Errorf("the Dockerfile has %d lines; it can have %d: copy large files into the image instead of writing them here", n, maxLines)
	}
	n := 0
	for line := range bytes.Lines(data) {
		if n++; len(line) >= bufio.MaxScanTokenSize {
			err := fmt.Errorf("the line has %d bytes; it can have %d: break it with a backslash at its end", len(line), bufio.MaxScanTokenSize-1)
			at := parser.Position{Line: n}
			return nil, parser.WithLocation(err, []parser.Range{{Start: at, End: at}})
		}
	}
	file, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, nil
	}
	for _, n := range file.AST.Children {
		if strings.Count(n.Original, "${") > maxNesting {
			return nil, parser.WithLocation(fmt.Errorf("the instruction has more than %d variables in it", maxNesting), n.Location())
		}
	}
	stages, args, err := instructions.Parse(file.AST, linter.New(&linter.Config{SkipAll: true}))
	if err != nil {
		return nil, nil
	}
	p := &program{stages: stages, args: args, given: given}
	for _, a := range args {
		if err := p.count(parts(&a), a.Location()); err != nil {
			return nil, err
		}
	}
	for _, st := range stages {
		if err := p.count(1, st.Location); err != nil {
			return nil, err
		}
		for _, cmd := range st.Commands {
			if err := p.count(parts(cmd), cmd.Location()); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (p *program) count(n int, at []parser.Range) error {
	if p.parts += n; p.parts > maxParts {
		return parser.WithLocation(fmt.Errorf("the Dockerfile has more than %d instructions, counting each variable, label, file and mount: put several commands into one RUN, and copy directories instead of files", maxParts), at)
	}
	return nil
}

// parts is how many things an instruction lists, at least itself.
func parts(cmd instructions.Command) int { return max(1, listed(cmd)) }

func listed(cmd instructions.Command) int {
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		return len(c.Env)
	case *instructions.ArgCommand:
		return len(c.Args)
	case *instructions.LabelCommand:
		return len(c.Labels)
	case *instructions.AddCommand:
		return len(c.SourcePaths) + len(c.SourceContents) + len(c.ExcludePatterns)
	case *instructions.CopyCommand:
		return len(c.SourcePaths) + len(c.SourceContents) + len(c.ExcludePatterns)
	case *instructions.RunCommand:
		return len(instructions.GetMounts(c)) + len(c.Files)
	case *instructions.ExposeCommand:
		return len(c.Ports)
	case *instructions.VolumeCommand:
		return len(c.Volumes)
	}
	return 0
}

// triggers parses the ONBUILD instructions of an image's configuration.
func triggers(image string, onbuild []string) ([]instructions.Command, error) {
	if len(onbuild) > maxLookups {
		return nil, fmt.Errorf("%s has %d ONBUILD instructions; it can have %d", image, len(onbuild), maxLookups)
	}
	var cmds []instructions.Command
	n := 0
	for _, text := range onbuild {
		if strings.Count(text, "${") > maxNesting {
			return nil, fmt.Errorf("an ONBUILD instruction of %s has more than %d variables in it", image, maxNesting)
		}
		cmd, err := trigger(text)
		if err != nil {
			continue // the conversion says why
		}
		if n += parts(cmd); n > maxParts {
			return nil, fmt.Errorf("the ONBUILD instructions of %s have more than %d parts", image, maxParts)
		}
		cmds = append(cmds, cmd)
	}
	return cmds, nil
}

func trigger(text string) (instructions.Command, error) {
	file, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(file.AST.Children) != 1 {
		return nil, errors.New("not a single instruction")
	}
	return instructions.ParseCommand(file.AST.Children[0])
}
