package http

import (
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode"
)

// defaultName is what a file is called that has no name, or none that can be used.
const defaultName = "download"

// name is what a file is called in its tree: as is asked for, or as the server says,
// or as the URL ends. It is never more than the last element of a path.
func (r request) name(h http.Header) string {
	if r.Filename != "" {
		return lastElement(r.Filename)
	}
	if cd := h.Get("Content-Disposition"); cd != "" {
		// A name that ends with a slash is no file's.
		if _, params, err := mime.ParseMediaType(cd); err == nil && params["filename"] != "" && !strings.HasSuffix(params["filename"], "/") {
			return lastElement(params["filename"])
		}
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return defaultName
	}
	return lastElement(u.Path)
}

func lastElement(s string) string {
	name := path.Base(strings.TrimSpace(s))
	if name == "." || name == ".." || name == "/" || len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl) {
		return defaultName
	}
	return name
}
