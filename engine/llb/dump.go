package llb

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// DumpOp is a line of Dump. The fields are those of `buildctl debug dump-llb`.
type DumpOp struct {
	Op         *pb.Op
	Digest     digest.Digest
	OpMetadata *pb.OpMetadata
}

// Dump writes a definition as JSON, an op a line. It shows what the definition says,
// also where Load would refuse it; only ops that cannot be decoded are an error.
func Dump(w io.Writer, def *pb.Definition) error {
	return dump(w, def, func(w io.Writer, ops []DumpOp) error {
		enc := json.NewEncoder(w)
		for _, o := range ops {
			if err := enc.Encode(o); err != nil {
				return err
			}
		}
		return nil
	})
}

// DumpDot writes a definition as a graph that graphviz draws: `dot -Tsvg`.
func DumpDot(w io.Writer, def *pb.Definition) error {
	return dump(w, def, writeDot)
}

func dump(w io.Writer, def *pb.Definition, write func(io.Writer, []DumpOp) error) error {
	ops, err := dumpOps(def)
	if err != nil {
		return err
	}
	buf := bufio.NewWriter(w)
	if err := write(buf, ops); err != nil {
		return err
	}
	return buf.Flush()
}

func dumpOps(def *pb.Definition) ([]DumpOp, error) {
	ops := make([]DumpOp, 0, len(def.GetDef()))
	for i, dt := range def.GetDef() {
		o, dgst, err := decodeOp(i, dt)
		if err != nil {
			return nil, err
		}
		ops = append(ops, DumpOp{Op: o, Digest: dgst, OpMetadata: def.Metadata[dgst.String()]})
	}
	return ops, nil
}

func writeDot(w io.Writer, ops []DumpOp) error {
	if _, err := fmt.Fprintln(w, "digraph {"); err != nil {
		return err
	}
	for _, o := range ops {
		label, shape := dotNode(o)
		if _, err := fmt.Fprintf(w, "  %q [label=%q shape=%q];\n", o.Digest, label, shape); err != nil {
			return err
		}
	}
	for _, o := range ops {
		for i, in := range o.Op.Inputs {
			if _, err := fmt.Fprintf(w, "  %q -> %q [label=%q];\n", in.GetDigest(), o.Digest, dotEdge(o.Op, int64(i))); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(w, "}")
	return err
}

func dotNode(o DumpOp) (label, shape string) {
	label = o.OpMetadata.GetDescription()["llb.customname"]
	shape = "plaintext"
	switch k := o.Op.Op.(type) {
	case *pb.Op_Source:
		shape = "ellipse"
	case *pb.Op_Exec:
		shape = "box"
		if k.Exec.Meta == nil {
			label = "exec"
		}
	case *pb.Op_File:
		shape = "note"
	case *pb.Op_Build:
		shape = "box3d"
	case *pb.Op_Merge:
		shape, label = "invtriangle", or(label, "merge")
	case *pb.Op_Diff:
		shape, label = "doublecircle", or(label, "diff")
	case nil:
		label = "result"
	}
	if label == "" {
		label = name(o.Op, nil)
	}
	return label, shape
}

// dotEdge says where the input of an exec op is mounted.
func dotEdge(o *pb.Op, input int64) string {
	for _, m := range o.GetExec().GetMounts() {
		if m.GetInput() == input && m.GetDest() != pb.RootMount {
			return m.GetDest()
		}
	}
	return ""
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
