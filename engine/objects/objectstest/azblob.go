package objectstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

// Account is the name of the account that has Secret as its key, in stores as Azure's.
const Account = "account"

// NewAzure starts a store that speaks the protocol of Azure's blobs, without a container.
func NewAzure(t testing.TB) *registrytest.Server {
	t.Helper()
	return registrytest.Before(t, &azure{blobs: newBlobs(), containers: map[string]bool{}})
}

// azure is a store as Azure's: what begins with the name of a container is in it.
type azure struct {
	blobs *blobs

	mu         sync.Mutex // guards what follows
	containers map[string]bool
}

// ServeHTTP implements http.Handler.
func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("sig") != "s" && r.Header.Get("Authorization") != "SharedKey "+Account+":"+sharedKey(r) {
		refuse(w, http.StatusForbidden, "Server failed to authenticate the request.")
		return
	}
	if r.Header.Get("X-Ms-Version") == "" {
		refuse(w, http.StatusBadRequest, "the version is missing")
		return
	}
	name, isBlob := "", false
	if name, _, isBlob = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); !a.contains(name, r) {
		w.Header().Set("X-Ms-Error-Code", "ContainerNotFound")
		refuse(w, http.StatusNotFound, "The specified container does not exist.")
		return
	}
	switch {
	case isBlob:
		a.blobs.ServeHTTP(w, r)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	case r.URL.Query().Get("comp") == "list":
		a.list(w, r, "/"+name+"/")
	}
}

// contains says whether there is a container. A request may be to make it.
func (a *azure) contains(name string, r *http.Request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodPut && r.URL.Query().Get("restype") == "container" {
		a.containers[name] = true
	}
	return a.containers[name]
}

// list lists what is below a path, two at a time.
func (a *azure) list(w http.ResponseWriter, r *http.Request, below string) {
	a.blobs.mu.Lock()
	defer a.blobs.mu.Unlock()
	var names []string
	for path := range a.blobs.all {
		name, ok := strings.CutPrefix(path, below)
		if ok && strings.HasPrefix(name, r.URL.Query().Get("prefix")) && name > r.URL.Query().Get("marker") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var next string
	if len(names) > 2 {
		names, next = names[:2], names[1]
	}
	type entry struct{ Name string }
	var out struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Blobs      []entry  `xml:"Blobs>Blob"`
		NextMarker string
	}
	for _, n := range names {
		out.Blobs = append(out.Blobs, entry{n})
	}
	out.NextMarker = next
	dt, _ := xml.Marshal(out)
	_, _ = w.Write(append([]byte("\ufeff"+xml.Header), dt...))
}

// sharedKey is the signature of a request, as the protocol says.
func sharedKey(r *http.Request) string {
	var s strings.Builder
	s.WriteString(r.Method + "\n")
	for _, name := range []string{
		"Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
		"If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
	} {
		v := r.Header.Get(name)
		if name == "Content-Length" && r.ContentLength > 0 {
			v = fmt.Sprint(r.ContentLength)
		}
		if v == "0" {
			v = ""
		}
		s.WriteString(v + "\n")
	}
	var ms []string
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Ms-") {
			ms = append(ms, strings.ToLower(name)+":"+strings.TrimSpace(r.Header.Get(name))+"\n")
		}
	}
	slices.Sort(ms)
	s.WriteString(strings.Join(ms, "") + "/" + Account + r.URL.EscapedPath())
	var query []string
	for name, values := range r.URL.Query() {
		slices.Sort(values)
		query = append(query, "\n"+strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	slices.Sort(query)
	s.WriteString(strings.Join(query, ""))
	key, _ := base64.StdEncoding.DecodeString(Secret)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(s.String()))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
