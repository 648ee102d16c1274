package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// GHA is the cache of GitHub Actions, or of a server that is compatible with it, in version
// 1 or 2 of its protocol. What is written under a key stays; so a key that ends with "#"
// stands for the newest of those that follow it by a number.
type GHA struct {
	URL   string
	Token string
	// V1 speaks the old version.
	V1 bool
	// Timeout bounds how long is waited for a server that says that it is asked too often.
	Timeout time.Duration
	// Repository and GitHubToken, if both are there, are for a list of what there is.
	Repository, GitHubToken string
	// Agree is how long is waited for another that writes the same key.
	Agree time.Duration

	scopes []Scope
	client client
	base   *url.URL
	api    string
}

var (
	_ Store = (*GHA)(nil)

	// errTaken says that a key is there already, or is being written.
	errTaken = errors.New("the key is taken")

	repository = regexp.MustCompile(`^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$`)
)

// Open checks what is said of the cache. Nothing is asked yet.
func (g GHA) Open(t http.RoundTripper) (_ *GHA, err error) {
	if g.base, err = url.Parse(strings.TrimSuffix(g.URL, "/")); err != nil || g.base.Host == "" || g.base.Scheme != "http" && g.base.Scheme != "https" {
		return nil, errors.New("url: say a URL as https://HOST/")
	}
	if g.scopes, err = scopes(g.Token, time.Now()); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if g.Repository != "" && !repository.MatchString(g.Repository) {
		return nil, fmt.Errorf("repository=%q: say OWNER/NAME", g.Repository)
	}
	g.client = newClient(t)
	if g.Timeout > 0 {
		g.client.patience = g.Timeout
	}
	g.api = "https://api.github.com"
	return &g, nil
}

// Scopes are what the token is for: branches and the like.
func (g *GHA) Scopes() []Scope { return g.scopes }

// ghaVersion tells apart what different programs write: it is that of BuildKit's.
var ghaVersion = hexDigest([]byte("|go-actionscache-1.0"))

// call asks the server, in JSON.
func (g *GHA) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var dt []byte
	if in != nil {
		var err error
		if dt, err = json.Marshal(in); err != nil {
			return err
		}
	}
	dt, _, err := g.client.answer(ctx, g.request(method, path, query, func(req *http.Request) {
		if in != nil {
			req.Header.Set("Content-Type", "application/json")
			sending(dt)(req)
		}
	}))
	if err != nil || out == nil || len(dt) == 0 {
		return err
	}
	if err := json.Unmarshal(dt, out); err != nil {
		return fmt.Errorf("%s: its answer: %w", g.base.Host, err)
	}
	return nil
}

func (g *GHA) request(method, path string, query url.Values, fill func(*http.Request)) func() (*http.Request, error) {
	return func() (*http.Request, error) {
		u := *g.base
		u.Path += path
		u.RawQuery = query.Encode()
		req, err := http.NewRequest(method, u.String(), http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+g.Token)
		if g.V1 {
			req.Header.Set("Accept", "application/json;api-version=6.0-preview.1")
		}
		fill(req)
		return req, nil
	}
}

// entry is what a key stands for, and where it is read.
type entry struct{ key, url string }

// entry finds a key.
func (g *GHA) entry(ctx context.Context, key string) (*entry, error) {
	find := g.v2Entry
	if g.V1 {
		find = g.v1Entry
	}
	found, err := find(ctx, key)
	if err != nil {
		return nil, err
	}
	// The server finds what begins with the key.
	if found.url == "" || found.key != key && !(strings.HasSuffix(key, "#") && strings.HasPrefix(found.key, key)) {
		return nil, fmt.Errorf("%s has no %s: %w", g.base.Host, key, errdefs.ErrNotFound)
	}
	return found, nil
}

// Get implements Store. The token does not go to where the object is.
func (g *GHA) Get(ctx context.Context, key string, offset int64) (*Object, error) {
	e, err := g.entry(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := g.blob(e.url)
	if err != nil {
		return nil, err
	}
	return b.get(ctx, offset)
}

// blob is the place that the server has named.
func (g *GHA) blob(at string) (blockBlob, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return blockBlob{}, fmt.Errorf("%s: it names a place that is no URL", g.base.Host)
	}
	return blockBlob{client: g.client, url: u, whole: blobWhole, part: blobPart}, nil
}

// Put implements Store.
func (g *GHA) Put(ctx context.Context, key string, b *Body) error {
	err := g.write(ctx, key, b)
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}

func (g *GHA) write(ctx context.Context, key string, b *Body) error {
	if g.V1 {
		return g.v1Write(ctx, key, b)
	}
	return g.v2Write(ctx, key, b)
}

// maxTaken is how many numbers are passed over that others have begun to write, and not ended.
const maxTaken = 32

// Replace implements Store: it writes the next number. Another that writes it at the same
// time is waited for; one that has given up is passed over.
func (g *GHA) Replace(ctx context.Context, key string, b *Body) error {
	newest, err := g.newest(ctx, key)
	if err != nil {
		return err
	}
	waited := false
	for n := newest + 1; n <= newest+maxTaken; n++ {
		err := g.write(ctx, key+strconv.Itoa(n), b)
		if !errors.Is(err, errTaken) {
			return err
		}
		if !waited {
			waited = true
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(g.Agree):
			}
			if newest, err = g.newest(ctx, key); err != nil {
				return err
			}
			n = max(n, newest)
		}
	}
	return fmt.Errorf("%s%d: %w, and so are those after it", key, newest+1, errTaken)
}

// newest is the number of what a key stands for; 0: there is none.
func (g *GHA) newest(ctx context.Context, key string) (int, error) {
	e, err := g.entry(ctx, key)
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimPrefix(e.key, key))
	if err != nil || n < 0 || n > 1<<30 {
		return 0, fmt.Errorf("%s: what follows %s in %q is no number", g.base.Host, key, e.key)
	}
	return n, nil
}

// Have implements Store. Without a list, each key is asked about.
func (g *GHA) Have(ctx context.Context, keys []string) (map[string]time.Time, error) {
	there := map[string]time.Time{}
	if len(keys) > 1 && g.Repository != "" && g.GitHubToken != "" {
		listed, err := g.list(ctx, common(sorted(keys)))
		if err == nil {
			for _, k := range keys {
				if listed[k] {
					there[k] = time.Now()
				}
			}
			return there, nil
		} // else there may be no right to list
	}
	var mu sync.Mutex
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(atATime)
	for _, k := range keys {
		eg.Go(func() error {
			_, err := g.entry(ctx, k)
			if errdefs.IsNotFound(err) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			there[k] = time.Now()
			return err
		})
	}
	return there, eg.Wait()
}

// atATime is how many keys are asked about at a time.
const atATime = 8

// maxPages bounds a list, of 100 keys each.
const maxPages = 100

// list lists the keys with a prefix, in all scopes, by GitHub's API.
func (g *GHA) list(ctx context.Context, prefix string) (map[string]bool, error) {
	all := map[string]bool{}
	for _, s := range g.scopes {
		for page := 1; ; page++ {
			query := url.Values{"key": {prefix}, "ref": {s.Scope}, "per_page": {"100"}, "page": {strconv.Itoa(page)}}
			dt, _, err := g.client.answer(ctx, func() (*http.Request, error) {
				req, err := http.NewRequest(http.MethodGet, g.api+"/repos/"+g.Repository+"/actions/caches?"+query.Encode(), http.NoBody)
				if err == nil {
					req.Header.Set("Accept", "application/vnd.github+json")
					req.Header.Set("Authorization", "Bearer "+g.GitHubToken)
				}
				return req, err
			})
			if err != nil {
				return nil, err
			}
			var answer struct {
				Total  int `json:"total_count"`
				Caches []struct {
					Key string `json:"key"`
				} `json:"actions_caches"`
			}
			if err := json.Unmarshal(dt, &answer); err != nil {
				return nil, err
			}
			for _, c := range answer.Caches {
				all[c.Key] = true
			}
			if answer.Total <= page*100 || len(answer.Caches) == 0 {
				break
			}
			if page == maxPages {
				return nil, fmt.Errorf("%s has more than %d keys", g.api, maxPages*100)
			}
		}
	}
	return all, nil
}
