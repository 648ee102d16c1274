package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/query"
)

const (
	maxRequest     = 1 << 20          // bytes
	maxConnections = 32               // at a time; more are closed at once
	requestTime    = 10 * time.Second // for a request to come
	idleTime       = 30 * time.Second
	// closeTime is how long Close waits for answers that are under way.
	closeTime = 5 * time.Second
)

// Server answers until it is closed.
type Server struct {
	http    http.Server
	socket  *os.File // the directory that the socket is in
	serving errgroup.Group
}

// Listen answers with what r says, by a socket in dir, which is made if need be. The
// caller has the root, closes the server before it gives the root back, and is the only
// one to use dir.
func Listen(dir string, r query.Reader) (_ *Server, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, done, err := socketIn(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	// That of a process that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its path is good until we return only
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{}
	if s.socket, err = os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.http = http.Server{Handler: handler(r), ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10}
	s.serving.Go(func() error {
		err := s.http.Serve(&guarded{UnixListener: l, slots: make(chan struct{}, maxConnections)})
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	return s, nil
}

// Close ends the server. It waits a while for answers that are under way, and ends those
// that take longer.
func (s *Server) Close() error {
	err := unix.Unlinkat(int(s.socket.Fd()), socketName, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		err = errors.Join(err, s.http.Close())
	}
	return errors.Join(err, s.serving.Wait(), s.socket.Close())
}

// guarded is a listener that takes only connections of this user and of root, and not
// too many of them.
type guarded struct {
	*net.UnixListener
	slots chan struct{}
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if !trusted(conn) {
			_ = conn.Close() // it gets no answer
			continue
		}
		select {
		case g.slots <- struct{}{}:
			return &counted{Conn: conn, slots: g.slots}, nil
		default:
			_ = conn.Close()
		}
	}
}

// counted is a connection that has a slot until it is closed.
type counted struct {
	net.Conn
	slots  chan struct{}
	closed bool // guarded by the server, which closes a connection once
}

func (c *counted) Close() error {
	if !c.closed {
		c.closed = true
		<-c.slots
	}
	return c.Conn.Close()
}

// trusted says whether who is at the other end is this user or root.
func trusted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
	})
	return err == nil && ok
}

func handler(r query.Reader) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+version+"/usage", func(w http.ResponseWriter, req *http.Request) {
		v, err := r.Usage(req.Context())
		answer(w, v, err)
	})
	mux.HandleFunc("GET "+version+"/images", func(w http.ResponseWriter, req *http.Request) {
		v, err := r.Images(req.Context())
		answer(w, v, err)
	})
	mux.HandleFunc("POST "+version+"/save", func(w http.ResponseWriter, req *http.Request) {
		var what query.SaveRequest
		if err := json.NewDecoder(io.LimitReader(req.Body, maxRequest)).Decode(&what); err != nil {
			answer(w, nil, fmt.Errorf("request: %w", err))
			return
		}
		write, err := r.Save(req.Context(), what)
		if err != nil {
			answer(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-tar")
		w.Header().Set("Trailer", statusTrailer)
		said := whole
		if err := write(w); err != nil {
			said = fmt.Sprintf("%.1000q", err.Error())
		}
		w.Header().Set(statusTrailer, said)
	})
	return mux
}

// answer writes v, or why there is none.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		v = failure{Error: err.Error(), NotFound: errdefs.IsNotFound(err)}
	}
	// Who does not read it any more has gone.
	_ = json.NewEncoder(w).Encode(v)
}
