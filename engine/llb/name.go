package llb

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/solver"
)

// maxName bounds a generated name. The name of a merge holds those of its inputs, so
// without a bound names could double with each op.
const maxName = 300

// kind is a word for what an op does.
func kind(o *pb.Op) string {
	switch o.GetOp().(type) {
	case *pb.Op_Source:
		return "source"
	case *pb.Op_Exec:
		return "exec"
	case *pb.Op_File:
		return "file"
	case *pb.Op_Build:
		return "build"
	case *pb.Op_Merge:
		return "merge"
	case *pb.Op_Diff:
		return "diff"
	case *pb.Op_Passthrough:
		return "passthrough"
	case nil:
		return "no known kind"
	default:
		return "unknown"
	}
}

// name is what people are shown where the definition gives an op no name: what it
// does, in the form that buildctl has made familiar. The op has been checked.
func name(o *pb.Op, inputs []solver.Edge) string {
	return shorten(fullName(o, inputs))
}

func fullName(o *pb.Op, inputs []solver.Edge) string {
	input := func(i int64) string {
		if i == int64(pb.Empty) {
			return "scratch"
		}
		return "(" + inputs[i].Vertex.Name() + ")"
	}
	switch k := o.Op.(type) {
	case *pb.Op_Source:
		return k.Source.Identifier
	case *pb.Op_Exec:
		return strings.Join(k.Exec.Meta.Args, " ")
	case *pb.Op_File:
		return fileName(k.File)
	case *pb.Op_Merge:
		var names []string
		for i, in := range inputs {
			names = append(names, in.Vertex.Name())
			if i == 20 { // more would be cut off
				break
			}
		}
		return "merge (" + strings.Join(names, ", ") + ")"
	case *pb.Op_Diff:
		return "diff " + input(k.Diff.Lower.Input) + " -> " + input(k.Diff.Upper.Input)
	case *pb.Op_Passthrough:
		return "passthrough " + k.Passthrough.Id
	default:
		return kind(o)
	}
}

func fileName(f *pb.FileOp) string {
	var names []string
	for i, a := range f.Actions {
		names = append(names, actionName(a))
		if i == 50 { // more would be cut off
			break
		}
	}
	return strings.Join(names, ", ")
}

func actionName(a *pb.FileAction) string {
	switch x := a.Action.(type) {
	case *pb.FileAction_Mkdir:
		return "mkdir " + x.Mkdir.Path
	case *pb.FileAction_Mkfile:
		return "mkfile " + x.Mkfile.Path
	case *pb.FileAction_Symlink:
		return fmt.Sprintf("symlink %s -> %s", x.Symlink.Newpath, x.Symlink.Oldpath)
	case *pb.FileAction_Rm:
		return "rm " + x.Rm.Path
	case *pb.FileAction_Copy:
		return fmt.Sprintf("copy %s %s", x.Copy.Src, x.Copy.Dest)
	default:
		return "unknown action"
	}
}

// shorten makes one line of bounded length.
func shorten(s string) string {
	if len(s) > 8*maxName {
		s = s[:8*maxName]
	}
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if r := []rune(s); len(r) > maxName {
		s = string(r[:maxName-3]) + "..."
	}
	return s
}
