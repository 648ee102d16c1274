package objectstest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// blobs is a place for blobs as Azure's are, by path.
type blobs struct {
	mu     sync.Mutex // guards what follows
	all    map[string]blob
	blocks map[string][]byte // by path and ID
}

type blob struct {
	bytes    []byte
	modified time.Time
}

func newBlobs() *blobs { return &blobs{all: map[string]blob{}, blocks: map[string][]byte{}} }

// ServeHTTP implements http.Handler.
func (b *blobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Ms-Request-Id", "1") // clients look for it
	if v := r.Header.Get("X-Ms-Range"); v != "" {
		r.Header.Set("Range", v)
	}
	if r.Method == http.MethodPut {
		b.put(w, r)
		return
	}
	b.mu.Lock()
	if r.Method == http.MethodDelete {
		delete(b.all, r.URL.Path)
	}
	o, ok := b.all[r.URL.Path]
	b.mu.Unlock()
	if !ok && r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if !ok {
		w.Header().Set("X-Ms-Error-Code", "BlobNotFound")
		refuse(w, http.StatusNotFound, "The specified blob does not exist.")
		return
	}
	http.ServeContent(w, r, "", o.modified, strings.NewReader(string(o.bytes)))
}

func refuse(w http.ResponseWriter, code int, why string) {
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, "<Error><Message>%s</Message></Error>", why)
}

func (b *blobs) put(w http.ResponseWriter, r *http.Request) {
	dt, err := io.ReadAll(r.Body)
	if err != nil || int64(len(dt)) != r.ContentLength {
		return // the client has gone
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	path := r.URL.Path
	switch q := r.URL.Query(); q.Get("comp") {
	case "block":
		b.blocks[path+" "+q.Get("blockid")] = dt
		w.WriteHeader(http.StatusCreated)
		return
	case "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal(dt, &list); err != nil {
			refuse(w, http.StatusBadRequest, "the list")
			return
		}
		dt = nil
		for _, id := range list.Latest {
			dt = append(dt, b.blocks[path+" "+id]...)
		}
	default:
		if r.Header.Get("X-Ms-Blob-Type") != "BlockBlob" {
			refuse(w, http.StatusBadRequest, "the type is missing")
			return
		}
	}
	if _, ok := b.all[path]; ok && r.Header.Get("If-None-Match") == "*" {
		refuse(w, http.StatusConflict, "The specified blob already exists.")
		return
	}
	b.all[path] = blob{dt, time.Now()}
	w.WriteHeader(http.StatusCreated)
}
