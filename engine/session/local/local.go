// Package local is the session of a caller that is this process: its directories,
// files, environment and docker configuration, lent to a build in place.
package local

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/identity"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/engine/session"
)

// Options are what the caller lends. All of it is checked by New, before anything
// is built.
type Options struct {
	// ID names the session; see session.Session. "" is a random one.
	ID string
	// Dirs are directories by the names that a definition knows them by.
	Dirs map[string]string
	// Trees are directories that are on no disk, by the same names.
	Trees map[string]fsutil.FS
	// Secrets are read once, by New.
	Secrets []Secret
	// SSH are agents. Key files are read once, by New.
	SSH []SSH
	// Outputs are files and directories that the build will write.
	Outputs []string
	// Layouts are the paths of OCI layouts by name.
	Layouts map[string]string
	// Caches are the folders of caches by the names that the build knows them by. Those of
	// CachesTo are written to, too, and made if need be.
	Caches, CachesTo map[string]string
	// CacheKeys sign caches, by the names that the build knows them by.
	CacheKeys map[string]*cachesign.Key
	// DockerConfig is the directory of docker's config.json, which has the
	// credentials of registries. "" is what DOCKER_CONFIG says, or ~/.docker, and then
	// podman's auth.json.
	DockerConfig string
	// NoPull asks no registry for images: what is not in the store is an error.
	NoPull bool
}

// New makes the session. It is an error if something in opt does not exist or
// cannot be read. It reads until ctx ends: a secret may come from a pipe.
func New(ctx context.Context, opt Options) (session.Session, error) {
	s := &local{
		id:      cmp.Or(opt.ID, identity.NewID()),
		dirs:    map[string]session.Dir{},
		secrets: map[string][]byte{},
		agents:  map[string]dialer{},
		layouts: map[string]content.Store{},
		caches:  map[string]content.Store{},
		keys:    opt.CacheKeys,
		creds:   newLogins(opt.DockerConfig),
		noPull:  opt.NoPull,
	}
	outputs, err := realPaths(opt.Outputs)
	if err != nil {
		return nil, err
	}
	for name, path := range opt.Dirs {
		d, err := openDir(path)
		if err != nil {
			return nil, fmt.Errorf("local directory %q: %w", name, err)
		}
		d.Outputs = outputs
		s.dirs[name] = d
	}
	for name, tree := range opt.Trees {
		s.dirs[name] = session.Dir{FS: tree}
	}
	for _, secret := range opt.Secrets {
		if _, ok := s.secrets[secret.ID]; ok {
			return nil, fmt.Errorf("secret %q is given twice", secret.ID)
		}
		dt, err := secret.read(ctx)
		if err != nil {
			return nil, err
		}
		s.secrets[secret.ID] = dt
	}
	for _, a := range opt.SSH {
		if _, ok := s.agents[a.id()]; ok {
			return nil, fmt.Errorf("SSH agent %q is given twice", a.id())
		}
		dial, err := a.dialer()
		if err != nil {
			return nil, fmt.Errorf("SSH agent %q: %w", a.id(), err)
		}
		s.agents[a.id()] = dial
	}
	for name, path := range opt.Layouts {
		l, err := openLayout(path)
		if err != nil {
			return nil, fmt.Errorf("OCI layout %q: %w", name, err)
		}
		s.layouts[name] = l
	}
	return s, s.openCaches(opt)
}

func (s *local) openCaches(opt Options) error {
	for name, path := range opt.Caches {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		s.caches[name] = layout{root: abs}
	}
	for name, path := range opt.CachesTo {
		cs, err := contentlocal.NewStore(path)
		if err != nil {
			return fmt.Errorf("folder %s for a cache: %w", path, err)
		}
		s.caches[name] = cs
	}
	return nil
}

// realPaths are paths as they are without links in the folders they are in.
func realPaths(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil { // else it is not there, and nothing in it
			out = append(out, filepath.Join(dir, filepath.Base(abs)))
		}
	}
	return out, nil
}

func openDir(path string) (session.Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return session.Dir{}, err
	}
	// FS and Path must be of the same directory, also if a link is changed later.
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return session.Dir{}, err
	}
	fs, err := fsutil.NewFS(real)
	if err != nil {
		return session.Dir{}, err
	}
	return session.Dir{FS: fs, Path: real}, nil
}

// local is never changed once made, except for what creds remembers.
type local struct {
	id      string
	dirs    map[string]session.Dir
	secrets map[string][]byte
	agents  map[string]dialer
	layouts map[string]content.Store
	caches  map[string]content.Store
	keys    map[string]*cachesign.Key
	creds   *logins
	noPull  bool
}

func (s *local) ID() string { return s.id }

func (s *local) MayPull() bool { return !s.noPull }

func (s *local) Lent() (secrets, agents []string) {
	return slices.Collect(maps.Keys(s.secrets)), slices.Collect(maps.Keys(s.agents))
}

func (s *local) Dirs() []string { return slices.Sorted(maps.Keys(s.dirs)) }

// SignCache implements session.CacheSigner.
func (s *local) SignCache(_ context.Context, key string, statement []byte) ([]byte, error) {
	k, ok := s.keys[key]
	if !ok {
		return nil, fmt.Errorf("key %q for caches: %w", key, session.ErrNotFound)
	}
	return k.Sign(statement)
}

// Cache implements session.CacheKeeper.
func (s *local) Cache(_ context.Context, path string) (content.Store, error) {
	cs, ok := s.caches[path]
	if !ok {
		return nil, fmt.Errorf("folder %q for caches: %w", path, session.ErrNotFound)
	}
	return cs, nil
}

func (s *local) Layouts() []string { return slices.Sorted(maps.Keys(s.layouts)) }

func (s *local) Dir(_ context.Context, name string) (session.Dir, error) {
	d, ok := s.dirs[name]
	if !ok {
		return session.Dir{}, fmt.Errorf("local directory %q: %w", name, session.ErrNotFound)
	}
	return d, nil
}

func (s *local) Secret(_ context.Context, id string) ([]byte, error) {
	dt, ok := s.secrets[id]
	if !ok {
		return nil, fmt.Errorf("secret %q: %w", id, session.ErrNotFound)
	}
	return append([]byte{}, dt...), nil
}

func (s *local) SSH(ctx context.Context, id string) (net.Conn, error) {
	if id == "" {
		id = DefaultSSH
	}
	dial, ok := s.agents[id]
	if !ok {
		return nil, fmt.Errorf("SSH agent %q: %w", id, session.ErrNotFound)
	}
	return dial(ctx)
}

func (s *local) Credentials(ctx context.Context, host, repository string) (session.Credentials, error) {
	return s.creds.of(ctx, host, repository)
}

func (s *local) Layout(_ context.Context, name string) (content.Store, error) {
	l, ok := s.layouts[name]
	if !ok {
		return nil, fmt.Errorf("OCI layout %q: %w", name, session.ErrNotFound)
	}
	return l, nil
}
