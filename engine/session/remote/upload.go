package remote

import (
	"context"
	"io"
	"net/url"

	"github.com/moby/buildkit/session/upload"
	"google.golang.org/grpc/metadata"

	"github.com/tenonbuild/tenon/engine/session"
)

var _ session.Uploader = (*Session)(nil)

// Upload implements session.Uploader.
func (s *Session) Upload(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(s.caller.Context(ctx))
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("urlpath", u.Path, "urlhost", u.Host))
	stream, err := upload.NewUploadClient(s.caller.Conn()).Pull(ctx)
	if err != nil {
		cancel()
		return nil, told(err)
	}
	return &uploaded{stream: stream, cancel: cancel}, nil
}

// uploaded is a file that the caller sends.
type uploaded struct {
	stream upload.Upload_PullClient
	cancel context.CancelFunc
	left   []byte // of the last message
}

// Read implements io.Reader.
func (u *uploaded) Read(p []byte) (int, error) {
	for len(u.left) == 0 {
		m, err := u.stream.Recv()
		if err != nil {
			return 0, told(err)
		}
		u.left = m.Data
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}

// Close implements io.Closer.
func (u *uploaded) Close() error {
	u.cancel()
	return nil
}

var _ io.ReadCloser = (*uploaded)(nil)
