package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"goservice/notes"
)

func TestAPI(t *testing.T) {
	h := New(&notes.Notes{})
	for _, c := range []struct {
		method, path, body string
		code               int
		answer             string
	}{
		{"POST", "/notes", "Buy milk", http.StatusCreated, "buy-milk\n"},
		{"POST", "/notes", "", http.StatusBadRequest, "a note needs a word\n"},
		{"GET", "/notes/buy-milk", "", http.StatusOK, "Buy milk\n"},
		{"GET", "/notes/none", "", http.StatusNotFound, "404 page not found\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.code || w.Body.String() != c.answer {
			t.Errorf("%s %s: %d %q", c.method, c.path, w.Code, w.Body)
		}
	}
}
