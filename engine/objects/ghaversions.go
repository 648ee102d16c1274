package objects

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// taken is errTaken if that is why a key cannot be had.
func taken(err error) error {
	if statusOf(err) == http.StatusConflict {
		return errTaken
	}
	return err
}

// service is where version 2 is.
const service = "/twirp/github.actions.results.api.v1.CacheService/"

func (g *GHA) v2Entry(ctx context.Context, key string) (*entry, error) {
	in := struct {
		Key         string   `json:"key"`
		RestoreKeys []string `json:"restore_keys"`
		Version     string   `json:"version"`
	}{key, []string{key}, ghaVersion}
	var out struct {
		URL string `json:"signed_download_url"`
		Key string `json:"matched_key"`
	}
	err := g.call(ctx, http.MethodPost, service+"GetCacheEntryDownloadURL", nil, in, &out)
	return &entry{out.Key, out.URL}, err
}

func (g *GHA) v2Write(ctx context.Context, key string, b *Body) error {
	in := struct {
		Key     string `json:"key"`
		Version string `json:"version"`
	}{key, ghaVersion}
	var out struct {
		OK  bool   `json:"ok"`
		URL string `json:"signed_upload_url"`
	}
	if err := g.call(ctx, http.MethodPost, service+"CreateCacheEntry", nil, in, &out); err != nil {
		return taken(err)
	}
	if !out.OK {
		return errTaken
	}
	blob, err := g.blob(out.URL)
	if err != nil {
		return err
	}
	if err := blob.put(ctx, b, false); err != nil {
		return err
	}
	end := struct {
		Key     string `json:"key"`
		Size    int64  `json:"size_bytes"`
		Version string `json:"version"`
	}{key, b.size, ghaVersion}
	if err := g.call(ctx, http.MethodPost, service+"FinalizeCacheEntryUpload", nil, end, &out); err != nil {
		return err
	}
	if !out.OK {
		return fmt.Errorf("%s has not taken %s", g.base.Host, key)
	}
	return nil
}

// v1Path is where version 1 is.
const v1Path = "/_apis/artifactcache/"

func (g *GHA) v1Entry(ctx context.Context, key string) (*entry, error) {
	var out struct {
		Key string `json:"cacheKey"`
		URL string `json:"archiveLocation"`
	}
	err := g.call(ctx, http.MethodGet, v1Path+"cache", url.Values{"keys": {key}, "version": {ghaVersion}}, nil, &out)
	return &entry{out.Key, out.URL}, err
}

// v1Write writes in chunks, one after the other.
func (g *GHA) v1Write(ctx context.Context, key string, b *Body) error {
	in := struct {
		Key     string `json:"key"`
		Version string `json:"version"`
	}{key, ghaVersion}
	var out struct {
		ID int64 `json:"cacheId"`
	}
	if err := g.call(ctx, http.MethodPost, v1Path+"caches", nil, in, &out); err != nil {
		return taken(err)
	}
	if out.ID == 0 {
		return errors.Join(errTaken, fmt.Errorf("%s gave no place for %s", g.base.Host, key))
	}
	at := v1Path + "caches/" + strconv.FormatInt(out.ID, 10)
	for off := int64(0); off < b.size; off += blobPart {
		n := min(blobPart, b.size-off)
		_, _, err := g.client.answer(ctx, g.request(http.MethodPatch, at, nil, func(req *http.Request) {
			req.Header.Set("Content-Type", "application/octet-stream")
			req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", off, off+n-1))
			send(req, b.section(off, n), n)
		}))
		if err != nil {
			return err
		}
	}
	end := struct {
		Size int64 `json:"size"`
	}{b.size}
	return g.call(ctx, http.MethodPost, at, nil, end, nil)
}
