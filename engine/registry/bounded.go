package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxAnswer bounds what is read of an answer that is no blob: a token, a list, an error,
// a manifest whose size nobody has said.
const maxAnswer = 8 << 20

// sizedKey marks the context of a request for what is read up to a size that is known:
// the blob that a descriptor stands for.
type sizedKey struct{}

func sized(ctx context.Context) context.Context { return context.WithValue(ctx, sizedKey{}, true) }

// bounded ends answers that do not end by themselves. All is set where also a request
// for a blob must not lead to more, as when a token is got for it.
type bounded struct {
	base http.RoundTripper
	all  bool
}

// RoundTrip implements http.RoundTripper.
func (t bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil || !t.all && req.Context().Value(sizedKey{}) != nil {
		return resp, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, host: req.URL.Host, left: maxAnswer}
	return resp, nil
}

// boundedBody is a body that is an error when it is larger than it may be.
type boundedBody struct {
	io.ReadCloser
	host string
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errAnswer(b.host)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, errAnswer(b.host)
	}
	return n, err
}

func errAnswer(host string) error {
	return fmt.Errorf("%s: its answer is larger than %d MiB, and should be no more than a few KiB", host, maxAnswer>>20)
}
