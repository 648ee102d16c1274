package objects

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// Azure is a container of Azure's blob storage.
type Azure struct {
	// AccountURL is https://ACCOUNT.blob.core.windows.net, or that of another store. It may
	// have a shared access signature, in place of a key.
	AccountURL string
	// AccountName is that of the host's name, if it is empty.
	AccountName string
	// Key is the account's, in base64.
	Key       string
	Container string

	key    []byte
	client client
	base   *url.URL
}

var (
	_ Store = (*Azure)(nil)

	containerName = regexp.MustCompile(`^[a-z0-9$][a-z0-9-]{2,62}$`)
)

// Open checks what is said of the container. Nothing is asked yet.
func (a Azure) Open(t http.RoundTripper) (_ *Azure, err error) {
	a.base, err = url.Parse(a.AccountURL)
	if err != nil || a.base.Host == "" || a.base.Scheme != "http" && a.base.Scheme != "https" || a.base.User != nil {
		return nil, errors.New("account_url: say a URL as https://ACCOUNT.blob.core.windows.net")
	}
	if !containerName.MatchString(a.Container) {
		return nil, fmt.Errorf("container=%q: say 3 to 63 small letters, digits and dashes", a.Container)
	}
	signed := a.base.Query().Has("sig")
	if a.key, err = base64.StdEncoding.DecodeString(a.Key); err != nil {
		return nil, errors.New("secret_access_key is not in base64")
	}
	if (len(a.key) > 0) == signed {
		return nil, errors.New("say secret_access_key, or a shared access signature in account_url: other identities are not looked for")
	}
	if a.AccountName == "" {
		a.AccountName, _, _ = strings.Cut(a.base.Hostname(), ".")
	}
	a.base.Path = strings.TrimSuffix(a.base.Path, "/") + "/" + a.Container
	a.client = newClient(t)
	return &a, nil
}

// at is a blob, or for "" the container.
func (a *Azure) at(key string) blockBlob {
	u := *a.base
	if key != "" {
		u.Path += "/" + key
		u.RawPath = escaped(u.Path)
	}
	b := blockBlob{client: a.client, url: &u, whole: blobWhole, part: blobPart}
	if len(a.key) > 0 {
		b.sign = a.sign
	}
	return b
}

// sign signs a request with the account's key, in the scheme SharedKey.
func (a *Azure) sign(req *http.Request) error {
	req.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	length := ""
	if req.ContentLength > 0 {
		length = strconv.FormatInt(req.ContentLength, 10)
	}
	h := req.Header
	lines := []string{
		req.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-Md5"), h.Get("Content-Type"), "",
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range"),
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if low := strings.ToLower(name); strings.HasPrefix(low, "x-ms-") {
			lines = append(lines, low+":"+h.Get(name))
		}
	}
	lines = append(lines, "/"+a.AccountName+req.URL.EscapedPath())
	query := req.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		lines = append(lines, strings.ToLower(name)+":"+strings.Join(query[name], ","))
	}
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte(strings.Join(lines, "\n")))
	req.Header.Set("Authorization", "SharedKey "+a.AccountName+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// Get implements Store.
func (a *Azure) Get(ctx context.Context, key string, offset int64) (*Object, error) {
	return a.at(key).get(ctx, offset)
}

// Put implements Store.
func (a *Azure) Put(ctx context.Context, key string, b *Body) error {
	return a.put(ctx, key, b, true)
}

// Replace implements Store.
func (a *Azure) Replace(ctx context.Context, key string, b *Body) error {
	return a.put(ctx, key, b, false)
}

// put writes a blob. It makes the container, if there is none.
func (a *Azure) put(ctx context.Context, key string, b *Body, once bool) error {
	err := a.at(key).put(ctx, b, once)
	if !errdefs.IsNotFound(err) {
		return err
	}
	if err := a.create(ctx); err != nil {
		return err
	}
	return a.at(key).put(ctx, b, once)
}

// maxLists is how many pages of a list are read before the keys that are left are asked about.
const maxLists = 10

// Have implements Store.
func (a *Azure) Have(ctx context.Context, keys []string) (map[string]time.Time, error) {
	keys = sorted(keys)
	there := map[string]time.Time{}
	prefix, marker := common(keys), ""
	for range maxLists {
		if len(keys) == 0 {
			return there, nil
		}
		page, err := a.list(ctx, prefix, marker)
		if errdefs.IsNotFound(err) {
			return there, nil // there is no container yet
		}
		if err != nil {
			return nil, err
		}
		last := ""
		for _, b := range page.Blobs {
			if _, wanted := slices.BinarySearch(keys, b.Name); wanted {
				there[b.Name] = time.Now()
			}
			last = max(last, b.Name)
		}
		if marker = page.NextMarker; marker == "" {
			return there, nil
		}
		keys = slices.DeleteFunc(keys, func(k string) bool { return k <= last })
	}
	return there, a.ask(ctx, keys, there)
}

// ask asks about each of some keys.
func (a *Azure) ask(ctx context.Context, keys []string, there map[string]time.Time) error {
	var mu sync.Mutex
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(atATime)
	for _, k := range keys {
		eg.Go(func() error {
			_, _, err := a.client.answer(ctx, a.at(k).request(http.MethodHead, nil, nil))
			if errdefs.IsNotFound(err) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			there[k] = time.Now()
			return err
		})
	}
	return eg.Wait()
}

// blobList is a page of a container's list.
type blobList struct {
	Blobs []struct {
		Name string
	} `xml:"Blobs>Blob"`
	NextMarker string
}

func (a *Azure) list(ctx context.Context, prefix, marker string) (*blobList, error) {
	query := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {prefix}, "maxresults": {"2000"}}
	if marker != "" {
		query.Set("marker", marker)
	}
	dt, _, err := a.client.answer(ctx, a.at("").request(http.MethodGet, query, nil))
	if err != nil {
		return nil, fmt.Errorf("list of container %s: %w", a.Container, err)
	}
	page := &blobList{}
	if err := xml.Unmarshal(dt, page); err != nil {
		return nil, fmt.Errorf("list of container %s: %s: %w", a.Container, a.base.Host, err)
	}
	return page, nil
}

// create makes the container. Another may have been faster.
func (a *Azure) create(ctx context.Context) error {
	_, _, err := a.client.answer(ctx, a.at("").request(http.MethodPut, url.Values{"restype": {"container"}}, nil))
	if err = passOver(err, true); err != nil {
		return fmt.Errorf("container %s: %w", a.Container, err)
	}
	return nil
}
