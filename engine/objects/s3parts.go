package objects

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// maxParts is of how many parts an object may be written.
const maxParts = 10000

// part is one of those that an object is made of.
type part struct {
	PartNumber int
	ETag       string
}

// parts writes an object of several parts, one after the other. What was begun and cannot
// be ended is given up, so that nobody pays for it.
func (s *S3) parts(ctx context.Context, key string, size, each int64, fill func(req *http.Request, off, n int64)) (err error) {
	dt, _, err := s.client.answer(ctx, s.request(http.MethodPost, key, url.Values{"uploads": {""}}, nothing, nil))
	if err != nil {
		return err
	}
	var begun struct{ UploadId string }
	if err := xml.Unmarshal(dt, &begun); err != nil || begun.UploadId == "" {
		return fmt.Errorf("%s: no upload was begun: %w", s.base.Host, errors.Join(err, s.late(dt)))
	}
	id := url.Values{"uploadId": {begun.UploadId}}
	defer func() {
		if err != nil {
			_, _, e := s.client.answer(context.WithoutCancel(ctx), s.request(http.MethodDelete, key, id, nothing, nil))
			err = errors.Join(err, e)
		}
	}()
	var done struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []part
	}
	for off := int64(0); off < size; off += each {
		p := part{PartNumber: len(done.Part) + 1}
		query := url.Values{"partNumber": {strconv.Itoa(p.PartNumber)}, "uploadId": id["uploadId"]}
		dt, h, err := s.client.answer(ctx, s.request(http.MethodPut, key, query, unsigned, func(req *http.Request) {
			fill(req, off, min(each, size-off))
		}))
		if err == nil {
			err = s.late(dt)
		}
		if err != nil {
			return fmt.Errorf("part %d: %w", p.PartNumber, err)
		}
		if p.ETag = h.Get("ETag"); p.ETag == "" {
			var copied struct{ ETag string }
			_ = xml.Unmarshal(dt, &copied) // the end says what is missing
			p.ETag = copied.ETag
		}
		done.Part = append(done.Part, p)
	}
	list, err := xml.Marshal(done)
	if err != nil {
		return err
	}
	dt, _, err = s.client.answer(ctx, s.request(http.MethodPost, key, id, hexDigest(list), sending(list)))
	if err != nil {
		return err
	}
	return s.late(dt)
}
