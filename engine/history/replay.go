package history

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
)

// maxMessage is how large a message of a log may be.
const maxMessage = 64 << 20

// Replay sends the log of a build that has ended. Found is false if there is none.
func (s *Store) Replay(ctx context.Context, ref string, send func(*controlapi.StatusResponse) error) (found bool, err error) {
	s.mu.Lock()
	rec := s.ended[ref]
	under := s.active[ref] != nil
	s.mu.Unlock()
	log := rec.GetLogs()
	if under || log == nil {
		return false, nil
	}
	r, err := s.blobs.ReaderAt(ctx, ocispec.Descriptor{Digest: digest.Digest(log.Digest), Size: log.Size, MediaType: log.MediaType})
	if err != nil {
		return true, fmt.Errorf("the log of build %s: %w", ref, err)
	}
	defer r.Close()
	return true, replay(content.NewReader(r), send)
}

// replay sends the messages of a log, each of which comes after its length.
func replay(log io.Reader, send func(*controlapi.StatusResponse) error) error {
	for {
		var size uint32
		if err := binary.Read(log, binary.LittleEndian, &size); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if size > maxMessage {
			return fmt.Errorf("the log has a message of %d bytes: it is damaged", size)
		}
		dt := make([]byte, size)
		if _, err := io.ReadFull(log, dt); err != nil {
			return err
		}
		m := &controlapi.StatusResponse{}
		if err := proto.Unmarshal(dt, m); err != nil {
			return err
		}
		if err := send(m); err != nil {
			return err
		}
	}
}
