package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/internal/ownersocket"
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
	serving errgroup.Group
}

// Listen answers with what r says, by a socket in dir, which is made if need be. The
// caller has the root, closes the server before it gives the root back, and is the only
// one to use dir.
func Listen(dir string, r query.Root) (*Server, error) {
	l, err := ownersocket.Listen(dir, socketName, maxConnections)
	if err != nil {
		return nil, err
	}
	s := &Server{}
	s.http = http.Server{Handler: handler(r), ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10}
	s.serving.Go(func() error {
		err := s.http.Serve(l)
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
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx) // closes the socket at once
	if ctx.Err() != nil {
		err = s.http.Close()
	}
	return errors.Join(err, s.serving.Wait())
}

func handler(r query.Root) http.Handler {
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
	mux.HandleFunc("POST "+version+"/change", func(w http.ResponseWriter, req *http.Request) {
		var what change
		if err := json.NewDecoder(io.LimitReader(req.Body, maxRequest)).Decode(&what); err != nil {
			answer(w, nil, fmt.Errorf("request: %w", err))
			return
		}
		answer(w, do(req.Context(), r, what), nil)
	})
	mux.HandleFunc("POST "+version+"/load", func(w http.ResponseWriter, req *http.Request) {
		// An archive comes for as long as it takes.
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
			answer(w, nil, err)
			return
		}
		loaded, err := r.LoadArchive(req.Context(), req.Body)
		answer(w, changed{Loaded: loaded, Failed: failed(err)}, nil)
	})
	return mux
}

// do makes a change.
func do(ctx context.Context, r query.Root, what change) (done changed) {
	var err error
	switch {
	case what.Tag != nil:
		err = r.Tag(ctx, what.Tag.Ref, what.Tag.Name)
	case what.Remove != nil:
		done.Removed, err = r.Remove(ctx, what.Remove.Refs, what.Remove.Force)
	case what.Prune != nil:
		done.Removed, err = r.Prune(ctx, *what.Prune)
	case what.Layout != "":
		done.Loaded, err = r.LoadLayout(ctx, what.Layout)
	default:
		err = errors.New("request: it names no change")
	}
	done.Failed = failed(err)
	return done
}

// answer writes v, or why there is none.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		v = failed(err)
	}
	// Who does not read it any more has gone.
	_ = json.NewEncoder(w).Encode(v)
}
