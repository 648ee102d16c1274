package main

import (
	"maps"
	"net/http/httptest"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// place is where a cache is.
type place struct {
	kind        string
	read, write map[string]string
	folder      string // where it is, of one in a folder
}

func inFolder(path string) *place {
	return &place{"local", map[string]string{"src": path}, map[string]string{"dest": path, "mode": "max"}, path}
}

// bucketName is the bucket of newStore.
const bucketName = "caches"

// newStore starts a store that speaks S3's protocol.
func newStore() (*httptest.Server, error) {
	b := s3mem.New()
	if err := b.CreateBucket(bucketName); err != nil {
		return nil, err
	}
	return httptest.NewServer(gofakes3.New(b).Server()), nil
}

// inStore is a cache there.
func inStore(s *httptest.Server, name string) *place {
	read := map[string]string{
		"bucket": bucketName, "region": "us-east-1", "endpoint_url": s.URL, "use_path_style": "true",
		"access_key_id": "key", "secret_access_key": "secret", "name": name,
	}
	write := maps.Clone(read)
	write["mode"] = "max"
	return &place{"s3", read, write, ""}
}
