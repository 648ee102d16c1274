package http

import (
	"context"
	"fmt"
	"io"

	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/source/internal/signed"
)

// checkSigned refuses half of what is needed to check a signature.
func (r request) checkSigned() error {
	if (r.Signature == "") != (r.Keys == "") {
		return fmt.Errorf("http signature verification requires both pubkey and signature: %s and %s", pb.AttrHTTPSignatureVerifyPubKey, pb.AttrHTTPSignatureVerify)
	}
	return signed.CheckKeys(r.Keys, r.Signature)
}

// verified is find, with an error if the file is not signed as was asked for. A file that
// has a checksum is fetched for that, too.
func (i *instance) verified(ctx context.Context) (found, error) {
	f, err := i.find(ctx)
	if err != nil || i.request.Signature == "" || i.signed {
		return f, err
	}
	if err := i.read(ctx, f, func(file io.Reader) error {
		return signed.File(file, i.request.Signature, i.request.Keys)
	}); err != nil {
		return found{}, fmt.Errorf("%s: %w", redact(i.request.URL), err)
	}
	i.signed = true
	return f, nil
}
