// Package session is what the caller of a build lends to it while it runs: its
// local directories, secrets, SSH agents, registry credentials and image layouts.
// The engine asks for them by name and never looks at the caller's machine
// otherwise, so that the caller may be this process or another one.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
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

// Uploader is implemented by a Session that has files of its own to give by URLs whose host
// is UploadHost.
type Uploader interface {
	// Upload opens what is at a URL. It may be there only once.
	Upload(ctx context.Context, u *url.URL) (io.ReadCloser, error)
}

// UploadHost is the host of URLs that stand for an upload: BuildKit's.
const UploadHost = "buildkit-session"

// CacheSigner is implemented by a Session that may sign the caches which a build writes, with
// keys that stay where they are.
type CacheSigner interface {
	// SignCache signs a statement of package cachesign with the key of this name. The error
	// is ErrNotFound if there is no such key.
	SignCache(ctx context.Context, key string, statement []byte) ([]byte, error)
}

// CacheKeeper is implemented by a Session that may have folders of caches.
type CacheKeeper interface {
	// Cache returns the content of the folder that the caller knows by path. ErrNotFound
	// if there is none.
	Cache(ctx context.Context, path string) (content.Store, error)
}

// Owned is implemented by a Session of which it is known whose it is: builds of others may not
// use it, also where they know its ID.
type Owned interface {
	// Client names who lends it (see engine.Request.Client).
	Client() string
}

// Lister is implemented by a Session that can tell what it lends.
type Lister interface {
	// Lent are the IDs of its secrets and SSH agents. The slices are the caller's.
	Lent() (secrets, agents []string)
	// Dirs and Layouts are the names of its directories and OCI layouts, sorted. The slices
	// are the caller's.
	Dirs() []string
	Layouts() []string
}

// Dir is a directory of the caller's.
type Dir struct {
	// FS reads the directory. Paths are relative and use slashes.
	FS fsutil.FS
	// Path is where the directory is, if that is on this machine; otherwise "".
	// What is read from it in place is what FS gives.
	Path string
	// Sync, where it is not nil, is how the directory is read instead: its files are sent.
	Sync *Sync
	// Outputs are what the build will write on this machine: absolute paths, without
	// links. One that is read as a part of the directory is warned of.
	Outputs []string
}

// Sync has files sent from another machine, or process.
type Sync struct {
	// Key names who sends: files that were kept of one directory and key are not sent
	// again, so whoever has the key may learn whether a file is among them.
	Key string
	// From has what the filter leaves of the directory sent to a.
	From func(ctx context.Context, f SyncFilter, a Arrival) error
}

// Arrival is told what comes of a directory that is sent, by one goroutine.
type Arrival interface {
	// Bytes is told how many bytes have come in all.
	Bytes(n int)
	// Entry is told of each path of the directory: in the order of fsutil's walk, with all
	// directories that it is in before it, and once. The Stat is not changed afterwards. It
	// returns what the bytes of a regular file are written to, which is closed when all
	// have come; nil where they need not be sent. What was not closed has not come whole.
	Entry(st *types.Stat) (io.WriteCloser, error)
}

// SyncFilter says which files are sent, in the words of BuildKit's local source.
type SyncFilter struct {
	Include, Exclude, Follow []string
}

// Credentials are a user's name and password. If Username is empty, Secret is an
// identity token.
type Credentials struct {
	Username, Secret string
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
