package objects

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// listing is a page of a bucket's list.
type listing struct {
	IsTruncated bool
	Contents    []struct {
		Key          string
		LastModified time.Time
	}
}

// Have implements Store. It lists the bucket from where the next key must be, so that there
// are no more requests than keys, and mostly one.
func (s *S3) Have(ctx context.Context, keys []string) (map[string]time.Time, error) {
	keys = sorted(keys)
	there := map[string]time.Time{}
	prefix, after := common(keys), ""
	for len(keys) > 0 {
		after = max(after, keys[0][:len(keys[0])-1])
		page, err := s.list(ctx, prefix, after)
		if err != nil {
			return nil, err
		}
		last := ""
		for _, o := range page.Contents {
			if _, wanted := slices.BinarySearch(keys, o.Key); wanted {
				there[o.Key] = o.LastModified
			}
			last = max(last, o.Key)
		}
		if !page.IsTruncated {
			return there, nil
		}
		if last <= after {
			return nil, fmt.Errorf("%s: its list of objects does not go on after %q", s.base.Host, after)
		}
		after = last
		keys = slices.DeleteFunc(keys, func(k string) bool { return k <= last })
	}
	return there, nil
}

func (s *S3) list(ctx context.Context, prefix, after string) (*listing, error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}, "start-after": {after}}
	dt, _, err := s.client.answer(ctx, s.request(http.MethodGet, "", query, nothing, nil))
	if err != nil {
		return nil, fmt.Errorf("list of bucket %s: %w", s.Bucket, err)
	}
	page := &listing{}
	if err := xml.Unmarshal(dt, page); err != nil {
		return nil, fmt.Errorf("list of bucket %s: %s: %w", s.Bucket, s.base.Host, err)
	}
	return page, nil
}

// common is what all keys begin with. They are sorted.
func common(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	first, last := keys[0], keys[len(keys)-1]
	n := 0
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	return strings.ToValidUTF8(first[:n], "")
}

func sorted(keys []string) []string { return slices.Sorted(slices.Values(keys)) }
