// Package registrytest is a registry for tests, in process and on loopback, that
// fails as it is told to.
package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Server is a registry. What is pushed stays in memory.
type Server struct {
	// Host is the registry's name in references.
	Host string
	// HTTP is the server itself.
	HTTP *httptest.Server

	backend http.Handler

	mu       sync.Mutex // guards what follows
	requests []string
	faults   []*fault
}

// Handler answers a request in place of the registry, which is next.
type Handler func(w http.ResponseWriter, r *http.Request, next http.Handler)

type fault struct {
	match string
	left  int
	do    Handler
}

// New starts a registry that ends with the test. It speaks plain http.
func New(t testing.TB) *Server {
	t.Helper()
	s := newServer()
	s.HTTP = httptest.NewServer(s)
	return s.started(t)
}

// Before starts a server of another kind, which is told to fail, and tells its requests, as
// a registry is.
func Before(t testing.TB, backend http.Handler) *Server {
	t.Helper()
	s := &Server{backend: backend}
	s.HTTP = httptest.NewServer(s)
	return s.started(t)
}

// NewTLS is New with https and a certificate that nobody knows.
func NewTLS(t testing.TB) *Server {
	t.Helper()
	s := newServer()
	s.HTTP = httptest.NewUnstartedServer(s)
	s.HTTP.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.HTTP.StartTLS()
	return s.started(t)
}

func newServer() *Server {
	return &Server{backend: openRanges{ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}}
}

// openRanges adds what the registry below does not know: ranges without an end.
type openRanges struct{ next http.Handler }

func (o openRanges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	from, open := strings.CutSuffix(from, "-")
	at, err := strconv.Atoi(from)
	if !ok || !open || err != nil {
		o.next.ServeHTTP(w, r)
		return
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	all := httptest.NewRecorder()
	o.next.ServeHTTP(all, r)
	body := all.Body.Bytes()
	if all.Code != http.StatusOK || at >= len(body) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(body)-1, len(body)))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)-at))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body[at:])
}

func (s *Server) started(t testing.TB) *Server {
	t.Cleanup(func() {
		s.HTTP.CloseClientConnections()
		s.HTTP.Close()
	})
	s.Host = s.HTTP.Listener.Addr().String()
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := r.Method + " " + r.URL.RequestURI()
	s.mu.Lock()
	s.requests = append(s.requests, line)
	do := Handler(func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
	for _, f := range s.faults {
		if f.left > 0 && strings.Contains(line, f.match) {
			f.left--
			do = f.do
			break
		}
	}
	s.mu.Unlock()
	do(w, r, s.backend)
}

// Fault answers the next times requests whose line ("GET /v2/app/manifests/1")
// contains match by do.
func (s *Server) Fault(match string, times int, do Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{match: match, left: times, do: do})
}

// Requests returns the lines of the requests so far that contain match, and forgets
// all.
func (s *Server) Requests(match string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return slices.DeleteFunc(all, func(l string) bool { return !strings.Contains(l, match) })
}

// Put pushes an image or an index, and returns its reference.
func (s *Server) Put(t testing.TB, tag string, what remote.Taggable) string {
	t.Helper()
	ref, err := name.ParseReference(s.Host+"/"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	opt := remote.WithTransport(s.HTTP.Client().Transport)
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, opt)
	case v1.Image:
		err = remote.Write(ref, what, opt)
	default:
		err = remote.Put(ref, what, opt)
	}
	if err != nil {
		t.Fatalf("put %s: %v", ref, err)
	}
	s.Requests("")
	return s.Host + "/" + tag
}

// Get reads what a tag stands for.
func (s *Server) Get(t testing.TB, tag string) *remote.Descriptor {
	t.Helper()
	ref, err := name.ParseReference(s.Host+"/"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(ref, remote.WithTransport(s.HTTP.Client().Transport))
	if err != nil {
		t.Fatalf("get %s: %v", ref, err)
	}
	return d
}

// Delete has what is at a path go. Headers are in pairs.
func (s *Server) Delete(t testing.TB, path string, headers ...string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodDelete, path, http.NoBody)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.backend.ServeHTTP(w, r)
	if w.Code >= 300 {
		t.Fatalf("DELETE %s: %d %s", path, w.Code, w.Body)
	}
}

// Whole is a fault: a manifest is refused if a blob that it names is not there, as most
// registries do.
func Whole(w http.ResponseWriter, r *http.Request, next http.Handler) {
	dt, err := io.ReadAll(r.Body)
	var m v1.Manifest
	if err != nil || json.Unmarshal(dt, &m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	repository, _, _ := strings.Cut(r.URL.Path, "/manifests/")
	for _, d := range append(m.Layers, m.Config) {
		there := httptest.NewRecorder()
		next.ServeHTTP(there, httptest.NewRequest(http.MethodHead, repository+"/blobs/"+d.Digest.String(), http.NoBody))
		if there.Code != http.StatusOK {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob %s unknown to registry"}]}`, d.Digest)
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(dt))
	next.ServeHTTP(w, r)
}

// Status is a fault: a status, with headers in pairs.
func Status(code int, headers ...string) Handler {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// Drop is a fault: the connection ends without an answer.
func Drop(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// Stall is a fault: nothing is answered until the client gives up.
func Stall(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	// A body that is not read hides from the server that the client has gone.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// Cut is a fault: the answer ends after n bytes of its body.
func Cut(n int) Handler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limited{ResponseWriter: w, left: n, end: func() { panic(http.ErrAbortHandler) }}, r)
	}
}

// Hang is a fault: after n bytes of the answer's body nothing comes any more, until
// the client gives up.
func Hang(n int) Handler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limited{ResponseWriter: w, left: n, end: func() {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}}, r)
	}
}

// Endless is a fault: the answer begins with something, and never ends.
func Endless(begin string) Handler {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, err := io.WriteString(w, begin)
		// What is written for HEAD goes nowhere, without an error.
		for more := strings.Repeat("a", 1<<16); err == nil && r.Method != http.MethodHead; {
			_, err = io.WriteString(w, more)
		}
	}
}

// Corrupt is a fault: the first byte of the body is another.
func Corrupt(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(&corrupting{ResponseWriter: w}, r)
}

type corrupting struct {
	http.ResponseWriter
	begun bool
}

func (c *corrupting) Write(p []byte) (int, error) {
	if !c.begun && len(p) > 0 {
		c.begun = true
		p = append([]byte{p[0] ^ 1}, p[1:]...)
	}
	return c.ResponseWriter.Write(p)
}

// limited passes on what may be passed on, and then calls end.
type limited struct {
	http.ResponseWriter
	left int
	end  func()
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) < l.left {
		l.left -= len(p)
		return l.ResponseWriter.Write(p)
	}
	n, err := l.ResponseWriter.Write(p[:l.left])
	if err != nil {
		return n, err
	}
	if err := http.NewResponseController(l.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	l.end()
	return n, io.ErrClosedPipe
}
