package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
)

// maxSuffix is how many bytes may be asked to be hashed behind a file.
const maxSuffix = 4096

// ResolveMetadata implements source.MetaResolver. Without a checksum the file is
// fetched, and kept for the build.
func (s *Source) ResolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	r, err := parse(op)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", redact(op.GetIdentifier()), err)
	}
	i := &instance{source: s, request: r}
	f, err := i.verified(ctx)
	if err != nil {
		return nil, err
	}
	out := &sourceresolver.ResolveHTTPResponse{Digest: f.Digest, Filename: f.Filename}
	if !f.LastModified.IsZero() {
		out.LastModified = &f.LastModified
	}
	if opt.HTTPOpt != nil && opt.HTTPOpt.ChecksumReq != nil {
		if out.ChecksumResponse, err = i.checksum(ctx, f, opt.HTTPOpt.ChecksumReq); err != nil {
			return nil, fmt.Errorf("%s: %w", redact(r.URL), err)
		}
	}
	return &sourceresolver.MetaResponse{Op: op, HTTP: out}, nil
}

// checksum hashes the file and what is asked to be behind it.
func (i *instance) checksum(ctx context.Context, f found, req *sourceresolver.ResolveHTTPChecksumRequest) (*sourceresolver.ResolveHTTPChecksumResponse, error) {
	algs := map[sourceresolver.ResolveHTTPChecksumAlgo]digest.Algorithm{
		sourceresolver.ResolveHTTPChecksumAlgoSHA256: digest.SHA256,
		sourceresolver.ResolveHTTPChecksumAlgoSHA384: digest.SHA384,
		sourceresolver.ResolveHTTPChecksumAlgoSHA512: digest.SHA512,
	}
	alg, ok := algs[req.Algo]
	if !ok {
		return nil, fmt.Errorf("unsupported checksum algorithm %d", req.Algo)
	}
	if len(req.Suffix) > maxSuffix {
		return nil, fmt.Errorf("http checksum request suffix exceeds max size %d: it has %d bytes", maxSuffix, len(req.Suffix))
	}
	sum := alg.Digester()
	err := i.read(ctx, f, func(file io.Reader) error {
		_, err := io.Copy(sum.Hash(), file)
		return err
	})
	if err != nil {
		return nil, err
	}
	sum.Hash().Write(req.Suffix) // a hash does not fail
	return &sourceresolver.ResolveHTTPChecksumResponse{Digest: sum.Digest().String(), Suffix: append([]byte{}, req.Suffix...)}, nil
}

// read calls use with the file, having it in the store.
func (i *instance) read(ctx context.Context, f found, use func(io.Reader) error) (err error) {
	ref, err := i.source.snapshot(ctx, i.request, f)
	if err != nil {
		return err
	}
	defer func() { err = drop(ctx, ref, err) }()
	return trees.Read(ctx, ref, func(dir string) (err error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, root.Close()) }()
		file, err := root.Open(f.Filename)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		return use(file)
	})
}
