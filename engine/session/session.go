// Package session is what the caller of a build lends to it while it runs: its
// local directories, secrets, SSH agents, registry credentials and image layouts.
// The engine asks for them by name and never looks at the caller's machine
// otherwise, so that the caller may be this process or another one.
package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tonistiigi/fsutil"
)

// ErrNotFound is wrapped by errors about things that a session does not have.
var ErrNotFound = errors.New("not found")

// Session is what one caller lends. Its methods may be called concurrently.
type Session interface {
	// ID names the session. No two that are alive have the same.
	ID() string
	// Dir returns the directory known by name. ErrNotFound if there is none.
	Dir(ctx context.Context, name string) (Dir, error)
	// Secret returns the value of a secret. ErrNotFound if there is none.
	Secret(ctx context.Context, id string) ([]byte, error)
	// SSH opens a connection to the SSH agent known by id ("default" where a
	// definition names none). ErrNotFound if there is none. The caller closes it.
	SSH(ctx context.Context, id string) (net.Conn, error)
	// Credentials returns what to log in to a registry with, for one of its
	// repositories: "docker.io" and "library/alpine". The zero value is anonymous access.
	Credentials(ctx context.Context, host, repository string) (Credentials, error)
	// Layout returns the content of the OCI layout known by name. ErrNotFound if
	// there is none.
	Layout(ctx context.Context, name string) (content.Store, error)
}

// Puller is implemented by a Session that may keep its builds from asking registries for
// images.
type Puller interface {
	// MayPull says whether registries are asked for what is not in the store.
	MayPull() bool
}

// Dir is a directory of the caller's.
type Dir struct {
	// FS reads the directory. Paths are relative and use slashes.
	FS fsutil.FS
	// Path is where the directory is, if that is on this machine; otherwise "".
	// What is read from it in place is what FS gives.
	Path string
	// Outputs are what the build will write on this machine: absolute paths, without
	// links. One that is read as a part of the directory is warned of.
	Outputs []string
}

// Credentials are a user's name and password. If Username is empty, Secret is an
// identity token.
type Credentials struct {
	Username, Secret string
}

// Sessions are those that are alive.
type Sessions struct {
	mu   sync.Mutex // guards byID
	byID map[string]Session
}

// Add makes a session known until remove is called. An ID in use is an error.
func (s *Sessions) Add(x Session) (remove func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[string]Session{}
	}
	id := x.ID()
	if id == "" {
		return nil, errors.New("session without an ID")
	}
	if _, ok := s.byID[id]; ok {
		return nil, fmt.Errorf("session %s is there already", id)
	}
	s.byID[id] = x
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byID, id)
	}, nil
}

// Get returns a session by its ID. ErrNotFound if it is not, or no longer, there.
func (s *Sessions) Get(id string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.byID[id]
	if !ok {
		return nil, fmt.Errorf("session %q: %w", id, ErrNotFound)
	}
	return x, nil
}

// Of returns a session of one of the jobs that ctx works for. For work that
// several jobs share, call it again when the session goes away: it finds one that
// is alive. ErrNotFound if none of them has a session.
func (s *Sessions) Of(ctx context.Context) (Session, error) {
	id := solver.SessionID(ctx)
	if id == "" {
		return nil, fmt.Errorf("no session: %w", ErrNotFound)
	}
	return s.Get(id)
}

// Empty is a session that lends nothing.
func Empty(id string) Session { return empty(id) }

type empty string

func (e empty) ID() string { return string(e) }

func (empty) Dir(_ context.Context, name string) (Dir, error) {
	return Dir{}, fmt.Errorf("local directory %q: %w", name, ErrNotFound)
}

func (empty) Secret(_ context.Context, id string) ([]byte, error) {
	return nil, fmt.Errorf("secret %q: %w", id, ErrNotFound)
}

func (empty) SSH(_ context.Context, id string) (net.Conn, error) {
	return nil, fmt.Errorf("SSH agent %q: %w", id, ErrNotFound)
}

func (empty) Credentials(context.Context, string, string) (Credentials, error) {
	return Credentials{}, nil
}

func (empty) Layout(_ context.Context, name string) (content.Store, error) {
	return nil, fmt.Errorf("OCI layout %q: %w", name, ErrNotFound)
}
