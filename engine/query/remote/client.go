package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/ownersocket"
)

// ErrGone says that nobody answers, or not to the end: the owner of the root does not
// serve, or has ended. Whoever gets it tries again, to open the root, too.
var ErrGone = errors.New("the process that uses the root does not answer")

// maxAnswer is how many bytes an answer may have, unless it is an archive.
const maxAnswer = 256 << 20

// client asks by a socket.
type client struct{ http http.Client }

// Ask returns what asks the process that has a root, by the socket in dir: see Listen.
// It connects for each question.
func Ask(dir string) query.Root {
	return &client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// Who does not begin to read a change does not make it: see changed.
		ExpectContinueTimeout: math.MaxInt64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ownersocket.Dial(ctx, dir, socketName)
		},
	}}}
}

// Usage implements query.Reader.
func (c *client) Usage(ctx context.Context) (*store.Usage, error) {
	var u store.Usage
	return &u, c.get(ctx, "/usage", &u)
}

// Images implements query.Reader.
func (c *client) Images(ctx context.Context) (list []*images.Image, err error) {
	return list, c.get(ctx, "/images", &list)
}

// Save implements query.Reader. What it writes is not whole if it returns an error.
func (c *client) Save(ctx context.Context, req query.SaveRequest) (func(io.Writer) error, error) {
	dt, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/save", bytes.NewReader(dt))
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		defer resp.Body.Close()
		if _, err := io.Copy(w, resp.Body); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the archive is not whole: %w", err)
		}
		switch said := resp.Trailer.Get(statusTrailer); said {
		case whole:
			return nil
		case "":
			return errors.New("the archive is not whole: the process that uses the root has ended")
		default:
			return fmt.Errorf("the archive is not whole: %s", said)
		}
	}, nil
}

// Tag implements query.Changer.
func (c *client) Tag(ctx context.Context, ref, name string) error {
	_, err := c.change(ctx, change{Tag: &tagging{ref, name}})
	return err
}

// Remove implements query.Changer.
func (c *client) Remove(ctx context.Context, refs []string, force bool) ([]images.Removed, error) {
	done, err := c.change(ctx, change{Remove: &removing{refs, force}})
	return done.Removed, err
}

// Prune implements query.Changer.
func (c *client) Prune(ctx context.Context, opt images.PruneOptions) ([]images.Removed, error) {
	done, err := c.change(ctx, change{Prune: &opt})
	return done.Removed, err
}

// LoadLayout implements query.Changer.
func (c *client) LoadLayout(ctx context.Context, dir string) ([]images.Loaded, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	done, err := c.change(ctx, change{Layout: dir})
	return done.Loaded, err
}

// LoadArchive implements query.Changer. It does not read r before somebody answers.
func (c *client) LoadArchive(ctx context.Context, r io.Reader) ([]images.Loaded, error) {
	done, err := c.changed(ctx, "/load", struct{ io.Reader }{r}) // it stays the caller's to close
	return done.Loaded, err
}

func (c *client) change(ctx context.Context, what change) (changed, error) {
	dt, err := json.Marshal(what)
	if err != nil {
		return changed{}, err
	}
	return c.changed(ctx, "/change", bytes.NewReader(dt))
}

// changed asks for a change. Its error is ErrGone only where nobody has begun to read what is
// to be changed, as where a process that ends closes a connection that waits: a change is not
// to be made twice.
func (c *client) changed(ctx context.Context, path string, body io.Reader) (done changed, err error) {
	var begun atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { begun.Store(true) }})
	defer func() {
		if errors.Is(err, ErrGone) && begun.Load() {
			err = fmt.Errorf("whether it was done is not known: the process that uses the root has ended, or is of another version (%w)", errors.Unwrap(err))
		}
	}()
	resp, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return changed{}, err
	}
	defer resp.Body.Close()
	begun.Store(true)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&done); err != nil {
		return changed{}, gone(ctx, err)
	}
	if done.Failed != nil {
		return done, &answered{*done.Failed}
	}
	return done, nil
}

func (c *client) get(ctx context.Context, path string, into any) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return gone(ctx, err)
	}
	return nil
}

// do asks, and returns an answer that is one. Its body is the caller's.
func (c *client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://tenon"+version+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Expect", "100-continue")
		req.Close = true // so nothing is read of the body where the answer is another
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, gone(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&f); err != nil || f.Error == "" {
		return nil, gone(ctx, fmt.Errorf("it answers %s", resp.Status)) // of another version
	}
	return nil, &answered{f}
}

func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &goneError{err}
}

// goneError is ErrGone with a reason.
type goneError struct{ reason error }

func (e *goneError) Error() string        { return ErrGone.Error() + ": " + e.reason.Error() }
func (e *goneError) Is(target error) bool { return target == ErrGone }
func (e *goneError) Unwrap() error        { return e.reason }

// answered is an error of the process that was asked.
type answered struct{ said failure }

func (a *answered) Error() string { return a.said.Error }

// Is lets an image that is not there be found out as ever.
func (a *answered) Is(target error) bool { return a.said.NotFound && target == errdefs.ErrNotFound }
