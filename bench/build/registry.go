package build

import (
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is a registry on loopback, which has in memory what is pushed, and one beside
// it that answers no request.
type Registry struct {
	Host, Silent string

	server, silent *httptest.Server
	sent           atomic.Int64                  // bytes of blobs
	ended          atomic.Pointer[chan struct{}] // closed when the silent one answers
}

// NewRegistry starts one.
func NewRegistry() *Registry {
	r := &Registry{}
	r.silent = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-*r.ended.Load():
		case <-req.Context().Done():
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	r.Silent = r.silent.Listener.Addr().String()
	backend := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			w = &counted{w, &r.sent}
		}
		backend.ServeHTTP(w, req)
	}))
	r.Host = r.server.Listener.Addr().String()
	return r
}

// silence has the silent one answer nothing until the function that it returns is called,
// which ends what it is still asked. BuildKit's daemon stands still as long as it waits.
func (r *Registry) silence() (end func()) {
	ended := make(chan struct{})
	r.ended.Store(&ended)
	return func() {
		close(ended)
		r.silent.CloseClientConnections()
	}
}

// Close ends it.
func (r *Registry) Close() {
	for _, s := range []*httptest.Server{r.server, r.silent} {
		s.CloseClientConnections()
		s.Close()
	}
}

type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// cachedName is how names of files begin that come from layers of caches, and from nowhere
// else.
const cachedName = "cached-"

// extracted is how many bytes are below a directory in files from layers of caches.
func extracted(root string) (sum int64, err error) {
	err = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), cachedName) {
			return ignoreGone(err)
		}
		fi, err := e.Info()
		if err == nil {
			sum += fi.Size()
		}
		return ignoreGone(err)
	})
	return sum, err
}

// ignoreGone passes over what has gone meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
