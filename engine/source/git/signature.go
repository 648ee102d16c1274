package git

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/source/internal/signed"
)

// signature is what is asked of the signature of a tag or a commit.
type signature struct {
	keys          string // "" if none is needed
	rejectExpired bool   // keys of OpenPGP that have expired
	requireTag    bool   // that of a commit does not do
	ignoreTag     bool   // that of a tag does not do
}

func (g signature) check() error {
	if g.keys == "" && (g.rejectExpired || g.requireTag || g.ignoreTag) {
		return fmt.Errorf("signatures are to be checked, and there are no keys: %s", pb.AttrGitSignatureVerifyPubKey)
	}
	return signed.CheckKeys(g.keys, "")
}

// verify says whether what was resolved is signed as was asked for. It is fetched for that.
func (s *Source) verify(ctx context.Context, sp spec, r resolved) error {
	var has sourceresolver.ResolveGitResponse
	commit, err := s.objects(ctx, sp, r, &has)
	if err != nil {
		return err
	}
	return sp.sig.verify(has.TagObject, r.object, has.CommitObject, commit)
}

// verify looks at a tag first, if there is one, and then at the commit.
func (g signature) verify(tag []byte, tagName string, commit []byte, commitName string) error {
	var tagErr error
	if len(tag) > 0 && !g.ignoreTag {
		if tagErr = g.object(tag, tagName); tagErr == nil {
			return nil
		}
	}
	if !g.requireTag {
		return g.object(commit, commitName)
	}
	if tagErr == nil {
		tagErr = errors.New("signed tag required but no signed tag found")
	}
	return tagErr
}

func (g signature) object(raw []byte, name string) error {
	o, err := signed.Read(raw, name)
	if err != nil {
		return err
	}
	return o.Verify(g.keys, g.rejectExpired)
}
