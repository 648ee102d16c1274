package remote

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"

	"github.com/tenonbuild/tenon/engine/session"
)

// maxOpen is how many files are asked for at a time. What the client may send at once is
// bounded by it, and the requests never fill the stream, which they would wait for.
const maxOpen = 1000

// receiver is the end of fsutil's protocol that files come to. The client tells of all
// paths, each with a number by its place; the receiver asks for the bytes of files by their
// numbers, at any time; their bytes come in pieces, and an empty one ends a file.
type receiver struct {
	stream grpc.ClientStream
	to     session.Arrival
	order  fsutil.Validator // of the paths

	count   uint32 // of the paths so far
	listed  bool   // there are no more
	open    map[uint32]io.WriteCloser
	waiting []request
	bytes   int
	done    bool // everything has come, and the client knows
}

// request is a file that is to be asked for.
type request struct {
	id uint32
	to io.WriteCloser
}

func (r *receiver) run() error {
	for {
		var p types.Packet
		err := r.stream.RecvMsg(&p)
		switch {
		case errors.Is(err, io.EOF) && r.done:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the client has ended before all was sent: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return err
		}
		r.bytes += p.SizeVT()
		r.to.Bytes(r.bytes)
		if err := r.packet(&p); err != nil {
			return err
		}
		if err := r.ask(); err != nil {
			return err
		}
	}
}

func (r *receiver) packet(p *types.Packet) error {
	switch p.Type {
	case types.PACKET_ERR:
		return fmt.Errorf("error from sender: %s", p.Data)
	case types.PACKET_STAT:
		return r.stat(p.Stat)
	case types.PACKET_DATA:
		return r.data(p.ID, p.Data)
	}
	return nil
}

// stat takes a path; nil says that there are no more.
func (r *receiver) stat(st *types.Stat) error {
	if r.listed {
		return errors.New("the client names a path after the last one")
	}
	if st == nil {
		r.listed = true
		return nil
	}
	id := r.count
	r.count++
	if err := r.order.HandleChange(fsutil.ChangeKindAdd, st.Path, &fsutil.StatInfo{Stat: st}, nil); err != nil {
		return err
	}
	to, err := r.to.Entry(st)
	if err != nil || to == nil {
		return err
	}
	if !fs.FileMode(st.Mode).IsRegular() {
		return fmt.Errorf("%s is no regular file, and has no bytes", st.Path)
	}
	r.waiting = append(r.waiting, request{id, to})
	return nil
}

func (r *receiver) data(id uint32, p []byte) error {
	to, ok := r.open[id]
	if !ok {
		return fmt.Errorf("the client sends file %d, which it was not asked for", id)
	}
	if len(p) > 0 {
		_, err := to.Write(p)
		return err
	}
	delete(r.open, id)
	return to.Close()
}

// ask asks for as many files as may be open; when all have come it says so.
func (r *receiver) ask() error {
	for len(r.waiting) > 0 && len(r.open) < maxOpen {
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.open[next.id] = next.to
		if err := r.send(&types.Packet{Type: types.PACKET_REQ, ID: next.id}); err != nil {
			return err
		}
	}
	if !r.listed || len(r.open) > 0 || r.done {
		return nil
	}
	r.done = true
	return r.send(&types.Packet{Type: types.PACKET_FIN})
}

// send sends a packet. That the stream has ended is seen, with the reason, where it is
// received from.
func (r *receiver) send(p *types.Packet) error {
	if err := r.stream.SendMsg(p); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
