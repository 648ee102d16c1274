package llb

import (
	"errors"
	"fmt"
	"io"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// What a definition may have at most. Far more than any frontend makes; they keep
// what one request can cost in bounds.
const (
	maxOps  = 2_000_000
	maxSize = 256 << 20
)

// ReadDefinition decodes a marshalled definition, as buildctl writes and reads it.
func ReadDefinition(r io.Reader) (*pb.Definition, error) {
	dt, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the LLB definition: %w", err)
	}
	if len(dt) > maxSize {
		return nil, fmt.Errorf("the LLB definition is larger than %d MiB", maxSize>>20)
	}
	def := &pb.Definition{}
	if err := proto.Unmarshal(dt, def); err != nil {
		return nil, fmt.Errorf("this is not a marshalled LLB definition (what a frontend or buildctl prints): %w", err)
	}
	return def, nil
}

// op is one op of a definition as it came.
type op struct {
	pos    int // in the definition, from 0
	digest digest.Digest
	pb     *pb.Op
	meta   *pb.OpMetadata // nil if there is none
	inputs []int          // indexes into definition.ops
}

// label is how errors name the op.
func (o *op) label() string {
	return fmt.Sprintf("op %d (%s, %s)", o.pos, kind(o.pb), short(o.digest))
}

func short(d digest.Digest) string {
	s := d.String()
	if len(s) > len("sha256:")+12 {
		s = s[:len("sha256:")+12]
	}
	return s
}

// definition is what is in a pb.Definition, decoded and indexed. Its last op, which
// only names the result, is not among ops.
type definition struct {
	src      *pb.Definition
	ops      []*op
	byDigest map[digest.Digest]int
	end      *pb.Input // the result: nil for the empty tree
}

// decode decodes the ops and finds what is the result.
func decode(def *pb.Definition) (*definition, error) {
	if def == nil {
		return nil, errors.New("no LLB definition was given")
	}
	if len(def.Def) > maxOps {
		return nil, fmt.Errorf("the LLB definition has %d ops; at most %d can be loaded", len(def.Def), maxOps)
	}
	size := 0
	for _, dt := range def.Def {
		if size += len(dt); size > maxSize {
			return nil, fmt.Errorf("the ops of the LLB definition are larger than %d MiB together", maxSize>>20)
		}
	}
	d := &definition{src: def, byDigest: make(map[digest.Digest]int, len(def.Def))}
	for i, dt := range def.Def {
		p, dgst, err := decodeOp(i, dt)
		if err != nil {
			return nil, err
		}
		o := &op{pos: i, digest: dgst, pb: p, meta: def.Metadata[dgst.String()]}
		if i == len(def.Def)-1 {
			return d, d.finish(o)
		}
		if _, ok := d.byDigest[o.digest]; ok {
			continue // said twice: one op
		}
		d.byDigest[o.digest] = len(d.ops)
		d.ops = append(d.ops, o)
	}
	return d, nil
}

func decodeOp(pos int, dt []byte) (*pb.Op, digest.Digest, error) {
	o, dgst := &pb.Op{}, digest.FromBytes(dt)
	if err := proto.Unmarshal(dt, o); err != nil {
		return nil, "", fmt.Errorf("op %d (%s) of the LLB definition cannot be decoded: %w", pos, short(dgst), err)
	}
	return o, dgst, nil
}

// finish takes the last op, which has nothing but one input: the result.
func (d *definition) finish(o *op) error {
	if o.pb.Op != nil || hasUnknown(o.pb) {
		return fmt.Errorf("the LLB definition ends with %s, where it should end with an op that only names the result: was it cut off?", o.label())
	}
	if n := len(o.pb.Inputs); n != 1 {
		return fmt.Errorf("the LLB definition ends with an op that has %d inputs, where it should name one result", n)
	}
	in := o.pb.Inputs[0]
	if in.Digest != "" {
		d.end = in
	} else if len(d.ops) > 0 {
		return errors.New("the LLB definition has ops, but its result names none of them")
	}
	return nil
}

// check checks each op for itself, and that inputs are there.
func (d *definition) check() error {
	if err := checkLocations(d.src.Source); err != nil {
		return err
	}
	for _, o := range d.ops {
		if err := checkOp(o.pb); err != nil {
			return fmt.Errorf("%s: %w", o.label(), err)
		}
		o.inputs = make([]int, len(o.pb.Inputs))
		for i, in := range o.pb.Inputs {
			n, err := d.find(in)
			if err != nil {
				return fmt.Errorf("%s: input %d: %w", o.label(), i, err)
			}
			o.inputs[i] = n
		}
	}
	// Only now are outputs known to be well-formed.
	for _, o := range d.ops {
		for i, in := range o.pb.Inputs {
			if err := checkOutput(d.ops[o.inputs[i]], in.Index); err != nil {
				return fmt.Errorf("%s: input %d: %w", o.label(), i, err)
			}
		}
	}
	return nil
}

func (d *definition) find(in *pb.Input) (int, error) {
	n, ok := d.byDigest[digest.Digest(in.Digest)]
	if !ok {
		if in.Digest == "" {
			return 0, errors.New("it names no op")
		}
		return 0, fmt.Errorf("no op of the definition has the digest %q", in.Digest)
	}
	return n, nil
}

func checkOutput(o *op, index int64) error {
	n := outputs(o.pb)
	if index < 0 || index >= int64(n) {
		return fmt.Errorf("output %d of %s is wanted, which has %d", index, o.label(), n)
	}
	return nil
}

// result returns the index of the op that is the result.
func (d *definition) result() (int, error) {
	n, err := d.find(d.end)
	if err != nil {
		return 0, fmt.Errorf("the result of the LLB definition: %w", err)
	}
	if err := checkOutput(d.ops[n], d.end.Index); err != nil {
		return 0, fmt.Errorf("the result of the LLB definition: %w", err)
	}
	return n, nil
}

// order lists the ops the result needs, inputs first. It does not recurse: a chain
// may be as long as a definition.
func (d *definition) order() ([]int, error) {
	root, err := d.result()
	if err != nil {
		return nil, err
	}
	type step struct{ n, next int }
	const open, done = 1, 2
	state := make([]uint8, len(d.ops))
	order := make([]int, 0, len(d.ops))
	stack := []step{{n: root}}
	state[root] = open
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		ins := d.ops[top.n].inputs
		if top.next == len(ins) {
			state[top.n] = done
			order = append(order, top.n)
			stack = stack[:len(stack)-1]
			continue
		}
		in := ins[top.next]
		top.next++
		switch state[in] {
		case open:
			return nil, fmt.Errorf("%s depends on itself", d.ops[in].label())
		case 0:
			state[in] = open
			stack = append(stack, step{n: in})
		}
	}
	return order, nil
}

func hasUnknown(o *pb.Op) bool { return len(o.ProtoReflect().GetUnknown()) > 0 }
