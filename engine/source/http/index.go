package http

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/internal/regular"
)

// found is what is known of a file that was fetched.
type found struct {
	Digest   digest.Digest
	Filename string
	// LastModified is what the server said, or zero. It is the file's time in its tree.
	LastModified time.Time
	// Tree is the ID of the tree that has the file; "" if that is not known.
	Tree string
}

// same says whether two are one file in all that its tree shows.
func (f found) same(g found) bool {
	return f.Digest == g.Digest && f.Filename == g.Filename && f.LastModified.Equal(g.LastModified)
}

// entry is what is kept of a file across builds.
type entry struct {
	Version int
	found
	// ETag and Since are how to ask whether the file is still the same, in the
	// server's words; both may be "".
	ETag, Since string
}

const entryVersion = 2

// unchanged says whether a server answers that the file is still this one, to a question
// that named it.
func (e entry) unchanged(resp *http.Response) bool {
	changed := lastModified(resp.Header)
	switch resp.StatusCode {
	case http.StatusNotModified:
		return changed.IsZero() || changed.Equal(e.LastModified)
	case http.StatusOK: // to HEAD: it does not look at tags, but has them
		tag := resp.Header.Get("ETag")
		return tag != "" && opaque(tag) == opaque(e.ETag) && changed.Equal(e.LastModified)
	}
	return false
}

// opaque is a tag without what says that it is weak (RFC 9110, 8.8.3.2).
func opaque(etag string) string { return strings.TrimPrefix(etag, "W/") }

// maxValidator is how many bytes of a server's words are kept.
const maxValidator = 1024

// index keeps entries, one file each, named by what was asked for. There is one
// process that writes it, but several goroutines: a file is replaced whole.
type index struct{ dir string }

// key names what is asked for.
func (r request) key() string {
	dt, err := json.Marshal(r)
	if err != nil {
		return "" // does not happen: it is strings and numbers
	}
	return digest.FromBytes(dt).Encoded()
}

// maxEntry is how many bytes an entry may have: more than the URL and the headers of an
// answer.
const maxEntry = 16 << 20

func (x index) path(key string) string { return filepath.Join(x.dir, key+".json") }

// get returns the entry of a key. One that is not there, or cannot be read, is a
// file that was not fetched.
func (x index) get(key string) (entry, bool) {
	dt, err := regular.Read(x.path(key), maxEntry)
	if err != nil {
		return entry{}, false
	}
	return decodeEntry(dt)
}

// used notes the time: see notes. It is no matter if it cannot.
func (x index) used(key string) {
	now := time.Now()
	_ = os.Chtimes(x.path(key), now, now)
}

func decodeEntry(dt []byte) (entry, bool) {
	var e entry
	if err := json.Unmarshal(dt, &e); err != nil || e.Version != entryVersion {
		return entry{}, false
	}
	switch {
	case e.Digest.Validate() != nil, e.Tree == "", e.Filename != trees.Name(e.Filename):
		return entry{}, false
	case !headerValue(e.ETag), !headerValue(e.Since):
		return entry{}, false
	}
	return e, true
}

func headerValue(s string) bool {
	return len(s) <= maxValidator && !strings.ContainsAny(s, "\r\n\x00")
}

// put keeps an entry.
func (x index) put(key string, e entry) error {
	e.Version = entryVersion
	dt, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("http source: %w", err)
	}
	if err := regular.Replace(x.path(key), dt); err != nil {
		return fmt.Errorf("http source: %w", err)
	}
	return nil
}

// validators are how to ask later whether a file is still what was answered.
//
// A time of change is only good if the file can no longer change within the same
// second: RFC 9110, 8.8.2.2, asks for a minute between it and the answer.
func validators(h http.Header) (etag, since string) {
	etag = h.Get("ETag")
	if !headerValue(etag) {
		etag = ""
	}
	changed := lastModified(h)
	if changed.IsZero() {
		return etag, ""
	}
	if answered, err := http.ParseTime(h.Get("Date")); err != nil || answered.Sub(changed) < time.Minute {
		return etag, ""
	}
	return etag, changed.UTC().Format(http.TimeFormat)
}

// lastModified is when a server says that a file was changed; zero if it does not say,
// or says what file systems cannot keep.
func lastModified(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil || t.Unix() < 0 || t.Unix() > math.MaxUint32 {
		return time.Time{}
	}
	return t.UTC()
}
