package origin_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/session/origin"
)

func of(t *testing.T, s string) origin.Origin {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return origin.Of(u)
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		url     string
		names   string
		private bool
	}{
		{"https://Example.com/x", "example.com example.com:443 https://example.com https://example.com:443", true},
		{"https://example.com:8443/x", "example.com:8443 https://example.com:8443", true},
		{"http://example.com/x", "http://example.com http://example.com:80", false},
		{"http://example.com:443/x", "http://example.com:443", false},
		{"http://127.0.0.2:80/x", "127.0.0.2 127.0.0.2:80 http://127.0.0.2 http://127.0.0.2:80", true},
		{"http://localhost:5000/x", "localhost:5000 http://localhost:5000", true},
		{"https://[::1]/x", "[::1] [::1]:443 https://[::1] https://[::1]:443", true},
		{"http://[::1]:8080/x", "[::1]:8080 http://[::1]:8080", true},
		{"http://localhost.example/x", "http://localhost.example http://localhost.example:80", false},
		{"http://127.0.0.1.example/x", "http://127.0.0.1.example http://127.0.0.1.example:80", false},
	} {
		o := of(t, c.url)
		if got := strings.Join(o.Names(), " "); got != c.names {
			t.Errorf("%s has the names %s, want %s", c.url, got, c.names)
		}
		if o.Private() != c.private {
			t.Errorf("%s: private is %v", c.url, o.Private())
		}
	}
}

func TestEqual(t *testing.T) {
	if of(t, "https://a.example/x") != of(t, "HTTPS://user:pw@A.example:443/y?z") {
		t.Error("one place is two")
	}
	for _, other := range []string{"http://a.example", "https://a.example:8443", "https://b.a.example", "http://a.example:443"} {
		if of(t, "https://a.example") == of(t, other) {
			t.Errorf("%s is taken for another", other)
		}
	}
}
