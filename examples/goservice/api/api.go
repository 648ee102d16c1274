// Package api serves notes over HTTP.
package api

import (
	"fmt"
	"io"
	"net/http"

	"goservice/notes"
)

const maxNote = 1 << 16

// New returns a handler of POST /notes, which answers with the note's name, and of
// GET /notes/NAME.
func New(n *notes.Notes) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /notes", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNote))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		name, err := n.Add(string(text))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("GET /notes/{name}", func(w http.ResponseWriter, r *http.Request) {
		text, ok := n.Get(r.PathValue("name"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, text)
	})
	return mux
}
