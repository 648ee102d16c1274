package http

import (
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/tenonbuild/tenon/engine/source/internal/trees"
)

// name is what a file is called in its tree: as is asked for, or as the server says,
// or as the URL ends. It is never more than the last element of a path.
func (r request) name(h http.Header) string {
	if r.Filename != "" {
		return trees.Name(r.Filename)
	}
	if cd := h.Get("Content-Disposition"); cd != "" {
		// A name that ends with a slash is no file's.
		if _, params, err := mime.ParseMediaType(cd); err == nil && params["filename"] != "" && !strings.HasSuffix(params["filename"], "/") {
			return trees.Name(params["filename"])
		}
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return trees.Name("")
	}
	return trees.Name(u.Path)
}
