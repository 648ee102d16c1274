package registry_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenonbuild/tenon/engine/registry"
)

// sends is a transport whose answers are bodies that send what is put into a pipe,
// until the request's context ends.
type sends struct{ body *io.PipeWriter }

func (s *sends) RoundTrip(req *http.Request) (*http.Response, error) {
	r, w := io.Pipe()
	s.body = w
	go func() {
		<-req.Context().Done()
		w.CloseWithError(req.Context().Err())
	}()
	return &http.Response{StatusCode: http.StatusOK, Body: r, Request: req}, nil
}

// The time that a reader takes is not the server's; what the server takes is.
func TestCutStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &sends{}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.test/file", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := registry.CutStalled(server, time.Second).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		go func() {
			for range 3 {
				_, _ = server.body.Write([]byte("x")) // read below
			}
		}()
		for range 3 {
			time.Sleep(time.Minute) // a slow disk's; the clock is synctest's
			if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		_, err = resp.Body.Read(make([]byte, 1))
		var stall *registry.StallError
		if !errors.As(err, &stall) || stall.Host != "example.test" || time.Since(began) != time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
