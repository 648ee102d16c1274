package fileop

import (
	"context"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
	"google.golang.org/protobuf/proto"
)

// treeType begins what the names of the op's trees are made of.
const treeType = "tenon.file.tree.v1"

// identify names the trees that the op has made: see contenthash.Tree. They follow from the
// actions and from what is known of the inputs, so that what was copied is not read once
// more. The names say as much as the keys by which the op is found. A tree that gets none
// here is read when its name is needed.
func (o *op) identify(ctx context.Context, inputs, outs []*store.Ref) {
	if o.deps.TimesCount {
		return // of the times nothing is known here
	}
	file, err := proto.MarshalOptions{Deterministic: true}.Marshal(o.file)
	if err != nil {
		return
	}
	all := []string{treeType, digest.FromBytes(file).String()}
	for i, sels := range selectors(o.file.Actions, len(inputs)) {
		var in digest.Digest
		if sels == nil {
			in, err = contenthash.Tree(ctx, inputs[i])
		} else {
			in, err = partsOf(ctx, inputs[i], sels)
		}
		if err != nil {
			return
		}
		all = append(all, in.String())
	}
	for i, out := range outs {
		name := digest.FromString(strings.Join(append(all, strconv.Itoa(i)), "\x00"))
		_, _ = out.Content(ctx, func(context.Context) (digest.Digest, error) { return name, nil }) // it fails only with ctx
	}
}
