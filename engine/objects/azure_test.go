package objects_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/objects/objectstest"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

func TestAzure(t *testing.T) {
	ctx := context.Background()
	for name, signature := range map[string]string{"key": "", "shared access signature": "?sv=1&sig=s"} {
		t.Run(name, func(t *testing.T) {
			server := objectstest.NewAzure(t)
			a := objects.Azure{AccountURL: server.HTTP.URL + "/" + signature, AccountName: objectstest.Account, Container: "caches"}
			if signature == "" {
				a.Key = objectstest.Secret
			}
			s, err := a.Open(objects.NewTransport())
			ok(t, err)
			text := []byte(strings.Repeat("text\n", 1000))
			keys := []string{"a/sha256:1", "a/sha256:2 +ä", "a/sha256:3", "a/sha256:4"}
			there, err := s.Have(ctx, keys)
			if ok(t, err); len(there) != 0 {
				t.Errorf("in no container there are %v", there)
			}
			for _, k := range keys {
				ok(t, s.Put(ctx, k, body(t, text))) // the first one makes the container
			}
			ok(t, s.Put(ctx, keys[0], body(t, text)))
			ok(t, s.Put(ctx, "empty", body(t, nil)))
			got, err := read(s, keys[1], len(text))
			if ok(t, err); !bytes.Equal(got, text) {
				t.Errorf("read %q", got)
			}
			server.Fault("GET", 1, registrytest.Cut(100))
			if got, err := read(s, keys[1], len(text)); err != nil || !bytes.Equal(got, text) {
				t.Errorf("after a broken connection: %v", err)
			}
			for _, v := range []string{"one", "another"} {
				ok(t, s.Replace(ctx, "name", body(t, []byte(v))))
				if got, err := read(s, "name", len(v)); err != nil || string(got) != v {
					t.Errorf("read %q, %v", got, err)
				}
			}
			there, err = s.Have(ctx, append(keys, "a/sha256:5"))
			if ok(t, err); len(there) != 4 {
				t.Errorf("there are %v", there)
			}
			if _, err := s.Get(ctx, "none", 0); !errdefs.IsNotFound(err) {
				t.Errorf("a blob that is not there: %v", err)
			}
		})
	}
}

// TestAzureMany asks about keys that a long list has late.
func TestAzureMany(t *testing.T) {
	ctx := context.Background()
	server := objectstest.NewAzure(t)
	s, err := objects.Azure{
		AccountURL: server.HTTP.URL, AccountName: objectstest.Account, Key: objectstest.Secret, Container: "caches",
	}.Open(objects.NewTransport())
	ok(t, err)
	_, err = s.Have(ctx, []string{"none"})
	ok(t, err)
	for n := range 26 {
		ok(t, s.Put(ctx, string(rune('a'+n)), body(t, nil)))
	}
	there, err := s.Have(ctx, []string{"b", "z", "zz"})
	if ok(t, err); len(there) != 2 {
		t.Errorf("there are %v", there)
	}
}

func TestAzureBad(t *testing.T) {
	server := objectstest.NewAzure(t)
	url := server.HTTP.URL
	for want, a := range map[string]objects.Azure{
		"account_url":                     {AccountURL: "moon", Container: "caches", Key: "aaaa"},
		"container=":                      {AccountURL: url, Container: "a/b", Key: "aaaa"},
		"not in base64":                   {AccountURL: url, Container: "caches", Key: "!"},
		"other identities":                {AccountURL: url, Container: "caches"},
		"say secret_access_key, or":       {AccountURL: url + "?sig=s", Container: "caches", Key: "aaaa"},
		"access denied (403): Server fai": {AccountURL: url, AccountName: "other", Container: "caches", Key: "aaaa"},
	} {
		s, err := a.Open(objects.NewTransport())
		if err == nil {
			_, err = s.Get(context.Background(), "k", 0)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
