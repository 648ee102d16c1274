package provenance

import (
	"fmt"

	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// addSteps tells the steps of a build, which lines of its source they are from, and which
// layers they have made.
func addSteps(p *types.ProvenancePredicateSLSA1, b Build) error {
	def := b.Definition
	steps, ids, err := stepsOf(def)
	if err != nil {
		return err
	}
	p.BuildDefinition.InternalParameters.BuildConfig = &types.BuildConfig{Definition: steps, DigestMapping: ids}
	p.RunDetails.Metadata.BuildKitMetadata.Layers = layersOf(b, steps)
	if len(def.GetSource().GetInfos()) == 0 {
		return nil
	}
	src := &types.Source{Locations: map[string]*pb.Locations{}}
	for _, info := range def.Source.Infos {
		steps, ids, err := stepsOf(info.GetDefinition())
		if err != nil {
			return err
		}
		src.Infos = append(src.Infos, types.SourceInfo{
			Filename: info.GetFilename(), Data: info.GetData(), Language: info.GetLanguage(),
			Definition: steps, DigestMapping: ids,
		})
	}
	for d, l := range def.Source.Locations {
		if id, ok := ids[digest.Digest(d)]; ok {
			src.Locations[id] = l
		}
	}
	p.RunDetails.Metadata.BuildKitMetadata.Source = src
	return nil
}

// stepsOf are the ops of a definition, each after its inputs, and their names by digest.
func stepsOf(def *pb.Definition) ([]types.BuildStep, map[digest.Digest]string, error) {
	if len(def.GetDef()) == 0 {
		return nil, map[digest.Digest]string{}, nil
	}
	ops := map[digest.Digest]*pb.Op{}
	var last digest.Digest
	for _, dt := range def.Def {
		op := &pb.Op{}
		if err := op.Unmarshal(dt); err != nil {
			return nil, nil, fmt.Errorf("the definition of the result: %w", err)
		}
		for _, k := range []string{pb.AttrLocalSessionID, pb.AttrLocalUniqueID} { // of one build
			delete(op.GetSource().GetAttrs(), k)
		}
		last = digest.FromBytes(dt)
		ops[last] = op
	}
	var steps []types.BuildStep
	ids := map[digest.Digest]string{}
	var visit func(d digest.Digest) error
	visit = func(d digest.Digest) error {
		if _, done := ids[d]; done {
			return nil
		}
		op, ok := ops[d]
		if !ok {
			return fmt.Errorf("the definition of the result has no op %s, which another needs", d)
		}
		step := types.BuildStep{}
		for _, in := range op.Inputs {
			if err := visit(digest.Digest(in.GetDigest())); err != nil {
				return err
			}
			step.Inputs = append(step.Inputs, fmt.Sprintf("%s:%d", ids[digest.Digest(in.GetDigest())], in.GetIndex()))
		}
		op.Inputs = nil
		step.ID, step.Op = fmt.Sprintf("step%d", len(steps)), op
		steps, ids[d] = append(steps, step), step.ID
		return nil
	}
	err := visit(last)
	return steps, ids, err
}
