package remote

import (
	"context"
	"fmt"
	"io"
	"net/url"

	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/metadata"

	"github.com/tenonbuild/tenon/engine/session"
)

// Dir implements session.Session. Whether there is such a directory shows when it is read.
func (s *Session) Dir(_ context.Context, name string) (session.Dir, error) {
	return session.Dir{Sync: &session.Sync{Key: s.key(), From: func(ctx context.Context, f session.SyncFilter, a session.Arrival) error {
		return s.sync(ctx, name, f, a)
	}}}, nil
}

// key is what files are kept by that are sent: nobody else's, where it is not known whose.
func (s *Session) key() string {
	if s.client == "" {
		return "session " + s.id
	}
	return fmt.Sprintf("client %q %s", s.client, s.caller.SharedKey())
}

func (s *Session) sync(ctx context.Context, name string, f session.SyncFilter, a session.Arrival) error {
	if !s.caller.Supports(bksession.MethodURL(filesync.FileSync_ServiceDesc.ServiceName, "DiffCopy")) {
		return fmt.Errorf("the client lends no directories: %w", session.ErrNotFound)
	}
	ctx, cancel := context.WithCancel(s.caller.Context(ctx))
	defer cancel()
	stream, err := filesync.NewFileSyncClient(s.caller.Conn()).DiffCopy(metadata.NewOutgoingContext(ctx, syncHeader(name, f)))
	if err != nil {
		return told(err)
	}
	r := &receiver{stream: stream, to: a, open: map[uint32]io.WriteCloser{}}
	if err := r.run(); err != nil {
		// So that the client knows why; it may have gone.
		_ = stream.SendMsg(&types.Packet{Type: types.PACKET_ERR, Data: []byte(err.Error())})
		return told(err)
	}
	return stream.CloseSend()
}

// syncHeader says which directory is meant, and what of it.
func syncHeader(name string, f session.SyncFilter) metadata.MD {
	md := metadata.MD{}
	for key, values := range map[string][]string{
		"dir-name": {name}, "include-patterns": f.Include, "exclude-patterns": f.Exclude, "followpaths": f.Follow,
	} {
		if values == nil {
			continue
		}
		sent := make([]string, len(values))
		copy(sent, values)
		if !ascii(values) {
			for i, v := range values {
				sent[i] = url.QueryEscape(v)
			}
			md[key+"-encoded"] = []string{"1"}
		}
		md[key] = sent
	}
	return md
}

// ascii says whether texts can stand in a header as they are.
func ascii(texts []string) bool {
	for _, s := range texts {
		for i := range len(s) {
			if s[i] >= 0x80 {
				return false
			}
		}
	}
	return true
}
