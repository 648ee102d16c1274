package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/store"
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
func Ask(dir string) query.Reader {
	return &client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, done, err := socketIn(dir)
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", path)
			return conn, errors.Join(err, done())
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
	return fmt.Errorf("%w: %w", ErrGone, err)
}

// answered is an error of the process that was asked.
type answered struct{ said failure }

func (a *answered) Error() string { return a.said.Error }

// Is lets an image that is not there be found out as ever.
func (a *answered) Is(target error) bool { return a.said.NotFound && target == errdefs.ErrNotFound }
