package objects

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
)

// azureVersion is the protocol of Azure's blobs that is spoken.
const azureVersion = "2023-11-03"

// blockBlob is a blob of Azure's, at a URL that is signed, or signed for each request.
type blockBlob struct {
	client client
	url    *url.URL
	// sign signs a request; nil: the URL is signed.
	sign func(*http.Request) error
	// whole is the largest blob that is written in one request, part the least of several.
	whole, part int64
}

const (
	blobWhole = 128 << 20
	blobPart  = 32 << 20
	// maxBlocks is of how many blocks a blob may be.
	maxBlocks = 50000
)

func (b blockBlob) request(method string, more url.Values, fill func(*http.Request)) func() (*http.Request, error) {
	return func() (*http.Request, error) {
		u := *b.url
		if len(more) > 0 {
			if u.RawQuery != "" {
				u.RawQuery += "&"
			}
			u.RawQuery += more.Encode()
		}
		req, err := http.NewRequest(method, u.String(), http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Ms-Version", azureVersion)
		if fill != nil {
			fill(req)
		}
		if b.sign != nil {
			err = b.sign(req)
		}
		return req, err
	}
}

// get reads it from an offset.
func (b blockBlob) get(ctx context.Context, offset int64) (*Object, error) {
	return b.client.object(ctx, offset, b.request(http.MethodGet, nil, func(req *http.Request) {
		setOffset(req, offset) // it is signed, too
	}))
}

// put writes it. Once: one that is there is left as it is.
func (b blockBlob) put(ctx context.Context, body *Body, once bool) error {
	condition := func(req *http.Request) {
		if once {
			req.Header.Set("If-None-Match", "*")
		}
	}
	if body.size <= b.whole {
		_, _, err := b.client.answer(ctx, b.request(http.MethodPut, nil, func(req *http.Request) {
			condition(req)
			req.Header.Set("X-Ms-Blob-Type", "BlockBlob")
			send(req, body.section(0, body.size), body.size)
		}))
		return passOver(err, once)
	}
	list := struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}{}
	each := max(b.part, body.size/maxBlocks+1)
	for off := int64(0); off < body.size; off += each {
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d", body.digest.Encoded()[:8], len(list.Latest)))
		_, _, err := b.client.answer(ctx, b.request(http.MethodPut, url.Values{"comp": {"block"}, "blockid": {id}}, func(req *http.Request) {
			n := min(each, body.size-off)
			send(req, body.section(off, n), n)
		}))
		if err != nil {
			return fmt.Errorf("block %d: %w", len(list.Latest)+1, err)
		}
		list.Latest = append(list.Latest, id)
	}
	dt, err := xml.Marshal(list)
	if err != nil {
		return err
	}
	_, _, err = b.client.answer(ctx, b.request(http.MethodPut, url.Values{"comp": {"blocklist"}}, func(req *http.Request) {
		condition(req)
		sending(dt)(req)
	}))
	return passOver(err, once)
}

// passOver passes over that a blob was there.
func passOver(err error, once bool) error {
	if code := statusOf(err); once && (code == http.StatusConflict || code == http.StatusPreconditionFailed) {
		return nil
	}
	return err
}
