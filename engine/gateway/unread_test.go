package gateway

import (
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tenonbuild/tenon/internal/check"
)

// Who adds waits while too much is unread, and until somebody reads, or nobody does any more.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnread(4)
		var adding sync.WaitGroup
		added := false
		adding.Go(func() {
			u.add([]byte("0123456789"))
			added = true
			u.end()
		})
		synctest.Wait()
		check.Equal(t, "unread", u.buf.String(), "0123")
		one := make([]byte, 3)
		n, err := u.Read(one)
		check.OK(t, err)
		check.Equal(t, "read", string(one[:n]), "012")
		synctest.Wait()
		check.Equal(t, "unread", u.buf.String(), "3456")
		check.Equal(t, "added", added, false)
		rest, err := io.ReadAll(u)
		check.OK(t, err)
		check.Equal(t, "read", string(rest), "3456789")
		adding.Wait()

		u = newUnread(4)
		adding.Go(func() { u.add([]byte(strings.Repeat("a", 10))) })
		synctest.Wait()
		check.OK(t, u.Close())
		adding.Wait()
		if _, err := u.Read(one); err != io.ErrClosedPipe {
			t.Errorf("read what was closed: %v", err)
		}
	})
}
