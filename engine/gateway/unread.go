package gateway

import (
	"bytes"
	"io"
	"sync"
)

// unread is the input of a process that it has not read yet. Who adds to it waits only while
// that is too much.
type unread struct {
	max int

	mu     sync.Mutex // guards what follows
	change *sync.Cond // of what follows
	buf    bytes.Buffer
	ended  bool // nothing more comes
	closed bool // nobody reads any more
}

var _ io.ReadCloser = (*unread)(nil)

func newUnread(most int) *unread {
	u := &unread{max: most}
	u.change = sync.NewCond(&u.mu)
	return u
}

// add adds to what is to be read, and returns when there is room for all of it, or nobody
// reads any more.
func (u *unread) add(dt []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(dt) > 0 {
		for u.buf.Len() == u.max && !u.ended && !u.closed {
			u.change.Wait()
		}
		if u.ended || u.closed {
			return
		}
		n := min(len(dt), u.max-u.buf.Len())
		u.buf.Write(dt[:n])
		dt = dt[n:]
		u.change.Broadcast()
	}
}

// end says that nothing more comes.
func (u *unread) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	u.change.Broadcast()
}

// Read implements io.Reader.
func (u *unread) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.buf.Len() == 0 && !u.ended && !u.closed {
		u.change.Wait()
	}
	if u.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := u.buf.Read(p) // io.EOF if it is empty
	u.change.Broadcast()
	return n, err
}

// Close drops what is unread, and what is added from now on.
func (u *unread) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.buf = bytes.Buffer{}
	u.change.Broadcast()
	return nil
}
