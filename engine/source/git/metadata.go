package git

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
)

// ResolveMetadata implements source.MetaResolver. Nothing is fetched unless the
// objects themselves are asked for.
func (s *Source) ResolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	sp, err := parse(op)
	if err != nil {
		return nil, err
	}
	i := &instance{source: s, spec: sp}
	r, err := i.resolve(ctx)
	if err != nil {
		return nil, err
	}
	out := &sourceresolver.ResolveGitResponse{Ref: r.ref, Checksum: r.object}
	if opt.GitOpt != nil && opt.GitOpt.ReturnObject {
		if r.commit, err = s.objects(ctx, sp, r, out); err != nil {
			return nil, fmt.Errorf("git repository %s: %w", sp.shown(), err)
		}
	}
	if r.commit != r.object {
		out.CommitChecksum = r.commit
	}
	return &sourceresolver.MetaResponse{Op: op, Git: out}, nil
}

// objects reads the commit, and the tag if the ref is an annotated one.
func (s *Source) objects(ctx context.Context, sp spec, r resolved, out *sourceresolver.ResolveGitResponse) (commit string, err error) {
	c, err := s.client(ctx, sp)
	if err != nil {
		return "", err
	}
	defer c.close()
	err = s.withRepo(ctx, c, r.object, func(b *bare) error {
		return b.mending(ctx, func() error {
			if commit, err = b.have(ctx, r); err != nil {
				return err
			}
			if commit != r.object {
				if out.TagObject, err = b.git(ctx, "cat-file", "tag", r.object); err != nil {
					return err
				}
			}
			out.CommitObject, err = b.git(ctx, "cat-file", "commit", commit)
			return err
		})
	})
	return commit, err
}
