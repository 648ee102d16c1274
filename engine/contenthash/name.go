package contenthash

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Each thing that a tree is named by begins with one of these.
const (
	nameEmpty     = "tenon tree 1 empty\x00"
	nameLayers    = "tenon tree 1 layers\x00"
	nameMerged    = "tenon tree 1 merged\x00"
	nameWritten   = "tenon tree 1 written\x00"
	nameDifferent = "tenon tree 1 different\x00"
	nameRecord    = "tenon tree 1 record\x00"
	nameParts     = "tenon tree 1 parts\x00"
)

// Tree returns a digest of a tree as a step sees it, but for times: trees of one digest are
// equal, and of as many layers. Equal trees may have several. It is made of the digest of the tree below and of
// what differs from that, so that only what was written is read, and of the layers of an
// image nothing. See the package comment.
//
// Of a tree whose content cannot be told, the digest is of the tree's ID. Errors are of
// trees that were lost, and those of ctx. Ref is borrowed.
func Tree(ctx context.Context, ref *store.Ref) (_ digest.Digest, err error) {
	name := nameOf(nameEmpty)
	var above []level // those without a name so far, the topmost first
	defer func() {
		for _, l := range above {
			err = errors.Join(err, l.Release(context.WithoutCancel(ctx)))
		}
	}()
	for r := ref; r != nil; {
		known, err := r.Content(ctx, nil)
		if err != nil {
			return "", err
		}
		if known != "" {
			name = known
			break
		}
		o, err := r.Origin()
		if err != nil {
			return "", err
		}
		above = append(above, level{o, r})
		r = o.Upon
	}
	for i := len(above) - 1; i >= 0; i-- {
		if name, err = above[i].name(ctx, name); err != nil {
			return "", err
		}
	}
	return name, nil
}

// level is a tree in the chain of those that one was made on.
type level struct {
	store.Origin
	ref *store.Ref
}

// name names the tree; below is the name of the one that it was made on.
func (l level) name(ctx context.Context, below digest.Digest) (digest.Digest, error) {
	var name digest.Digest
	var err error
	switch {
	case l.Layers != "":
		return nameOf(nameLayers, l.Layers.String()), nil
	case l.Merged != nil:
		name, err = merged(ctx, l.Merged)
	default:
		if l.Different > 0 {
			below = nameOf(nameDifferent, strconv.Itoa(l.Different))
		}
		name, err = l.ref.Content(ctx, func(ctx context.Context) (digest.Digest, error) { return written(ctx, l.ref, below) })
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, solver.ErrNotFound) || errors.Is(err, store.ErrLost) || errors.Is(err, store.ErrNotHere) {
		return name, err
	}
	// That it cannot be read, or has what no name is for, is no reason to fail: it is only
	// equal to itself.
	return nameOf(nameRecord, l.ref.ID()), nil
}

// errNoName is of trees that cannot be named by what is in them.
var errNoName = errors.New("the tree has no name of its content")

// merged names what trees add up to. The first is there as it is.
func merged(ctx context.Context, parts []*store.Ref) (digest.Digest, error) {
	first, err := Tree(ctx, parts[0])
	if err != nil {
		return "", err
	}
	names := []string{first.String()}
	for _, p := range parts[1:] {
		name, err := added(ctx, p)
		if err != nil {
			return "", err
		}
		names = append(names, name.String())
	}
	return nameOf(nameMerged, names...), nil
}

// added names what a tree adds to others. What it has deleted of the one that it was made on
// is part of that, and files whose times alone differ are, so that not all can be named.
func added(ctx context.Context, ref *store.Ref) (_ digest.Digest, err error) {
	o, err := ref.Origin()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, o.Release(context.WithoutCancel(ctx))) }()
	switch {
	case o.Layers != "", o.Written && o.Upon == nil:
		return Tree(ctx, ref)
	case o.Merged != nil:
		var names []string
		for _, p := range o.Merged {
			name, err := added(ctx, p)
			if err != nil {
				return "", err
			}
			names = append(names, name.String())
		}
		return nameOf(nameMerged, append(names, "added")...), nil
	}
	return "", errNoName
}

// nameOf is the digest of parts, each of which is preceded by its length.
func nameOf(sort string, parts ...string) digest.Digest {
	b := make([]byte, 0, 256)
	b = append(b, sort...)
	for _, p := range parts {
		b = appendString(b, p)
	}
	return Sum(sha256.Sum256(b)).Digest()
}

// TreeKey computes content keys of inputs that may be seen whole, of which parts are used.
// They are local: other builders have none.
func TreeKey(parts ...string) solver.ResultBasedCacheFunc {
	return func(ctx context.Context, r solver.Result) (digest.Digest, error) {
		ref, err := store.RefOf(r)
		if err != nil {
			return "", err
		}
		name, err := Tree(ctx, ref)
		if err != nil {
			return "", err
		}
		return solver.LocalPrefix + digest.Digest(nameOf(nameParts, append([]string{name.String()}, parts...)...).Encoded()), nil
	}
}
