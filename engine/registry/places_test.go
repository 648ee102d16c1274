package registry_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/util/resolver/config"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
)

// place is a web server that notes all that could be a credential.
type place struct {
	*httptest.Server
	mu   sync.Mutex // guards what follows
	got  []string
	do   http.HandlerFunc
	asks int
}

// newPlace starts one, of https or of http. Do answers.
func newPlace(t *testing.T, https bool, do http.HandlerFunc) *place {
	t.Helper()
	p := &place{do: do}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	if https {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP implements http.Handler.
func (p *place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what there is of it
	p.mu.Lock()
	p.asks++
	for _, v := range []string{r.Header.Get("Authorization"), r.Header.Get("Cookie"), string(body)} {
		if v != "" {
			p.got = append(p.got, v)
		}
	}
	p.mu.Unlock()
	p.do(w, r)
}

// asked says whether somebody has asked.
func (p *place) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks > 0
}

// received returns what could be a credential.
func (p *place) received() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.got, "\n")
}

// secure is a registry of https with an image, whose certificate is known; the same is
// that of all places.
func secure(t *testing.T) (s *registrytest.Server, hosts map[string]config.RegistryConfig) {
	t.Helper()
	s = registrytest.NewTLS(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.HTTP.Certificate().Raw}
	check.OK(t, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	no := false
	return s, map[string]config.RegistryConfig{s.Host: {PlainHTTP: &no, RootCAs: []string{ca}}}
}

const secretPassword = "hunter2-very-secret"

// known has a password for each of some hosts.
func known(hosts ...string) *lender {
	l := &lender{id: "a", known: map[string]session.Credentials{}}
	for _, h := range hosts {
		l.known[h] = session.Credentials{Username: "jane", Secret: secretPassword}
	}
	return l
}

func redirect(to string) registrytest.Handler {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "cookie"})
		http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
	}
}

// A place that a registry redirects to gets nothing, also if it asks, and has a name that
// credentials are known of.
func TestRedirectsTakeNoCredentials(t *testing.T) {
	asking := []struct{ name, challenge string }{
		{"asks for nothing", ""}, {"asks for a password", `Basic realm="x"`},
	}
	for _, scheme := range []string{"https", "http"} {
		for _, asks := range asking {
			t.Run(scheme+" "+asks.name, func(t *testing.T) {
				s, hosts := secure(t)
				img, layer := picture(t, 1, 1000)
				ref := s.Put(t, "app:1", img)
				other := newPlace(t, scheme == "https", func(w http.ResponseWriter, r *http.Request) {
					if asks.challenge != "" {
						w.Header().Set("WWW-Authenticate", asks.challenge)
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					s.HTTP.Config.Handler.ServeHTTP(w, r.WithContext(t.Context()))
				})
				otherHost := other.Listener.Addr().String()
				l := known(s.Host, otherHost, "127.0.0.1")
				s.Fault("GET /v2/app/blobs/", 1, basic("jane", secretPassword)) // learned here
				s.Fault("GET /v2/app/blobs/", 1, redirect(other.URL))
				sessions, ctx, _ := lent(t, l)
				r, _ := open(t, registry.Options{Hosts: hosts, Sessions: sessions})
				err := fetch(ctx, r, ref, layer)
				if asks.challenge == "" {
					check.OK(t, err)
				} else if err == nil {
					t.Error("no error")
				} else if strings.Contains(err.Error(), secretPassword) {
					t.Errorf("the error shows the password: %v", err)
				}
				check.Equal(t, "asked the other", other.asked(), true)
				check.Equal(t, "the other received", other.received(), "")
				check.Equal(t, "credentials that were asked for", strings.Join(l.asked, " "), s.Host)
			})
		}
	}
}

// A registry may redirect to another that hands out tokens to anybody, and to a place of
// itself.
func TestRedirectToAnotherRegistry(t *testing.T) {
	s, hosts := secure(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	s.Fault("/v2/app/blobs/sha256", 1, basic("jane", secretPassword))
	var other *place
	other = newPlace(t, true, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			_ = json.NewEncoder(w).Encode(map[string]any{"token": "anybody's", "expires_in": 300})
		case r.Header.Get("Authorization") != "Bearer anybody's":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+other.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			http.Redirect(w, r, s.HTTP.URL+"/v2/app/blobs/"+layer.Digest.String()+"?own", http.StatusFound)
		}
	})
	s.Fault("?own", 1, basic("jane", secretPassword)) // has it again
	s.Fault("GET /v2/app/blobs/", 2, redirect(other.URL))
	sessions, ctx, _ := lent(t, known(s.Host))
	r, _ := open(t, registry.Options{Hosts: hosts, Sessions: sessions})
	check.OK(t, fetch(ctx, r, ref, layer))
	check.Equal(t, "the other received", other.received(), "Bearer anybody's")
}

// tokens is a handler that hands out t1 to who has the password.
func tokens(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusNotFound) // as some do, and then are asked with a header
		return
	}
	if _, p, ok := r.BasicAuth(); !ok || p != secretPassword {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": "t1", "expires_in": 300})
}

// demand lets a registry want the token t1 of a realm.
func demand(s *registrytest.Server, realm string) {
	s.Fault("/v2/", 1000, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Header.Get("Authorization") != "Bearer t1" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="test",scope="repository:app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Passwords go to the server of tokens that a registry names, on another host, too, but
// by no weaker way.
func TestServersOfTokens(t *testing.T) {
	s, hosts := secure(t)
	img, _ := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	sessions, ctx, _ := lent(t, known(s.Host))
	good := newPlace(t, true, tokens)
	demand(s, good.URL+"/jwt/auth")
	r, _ := open(t, registry.Options{Hosts: hosts, Sessions: sessions})
	_, _, err := r.Resolve(ctx, ref)
	check.OK(t, err)
	check.Says(t, errors.New(good.received()), secretPassword)

	plain := newPlace(t, false, tokens)
	for _, realm := range []string{plain.URL, "ftp://127.0.0.1/", "//127.0.0.1", "", "%zz"} {
		s, hosts := secure(t)
		ref := s.Put(t, "app:1", img)
		demand(s, realm)
		sessions, ctx, _ := lent(t, known(s.Host))
		r, _ := open(t, registry.Options{Hosts: hosts, Sessions: sessions})
		_, _, err := r.Resolve(ctx, ref)
		check.Says(t, err, s.Host, "https URL")
	}
	check.Equal(t, "by plain http", plain.received(), "")

	// A registry on loopback speaks http; what is further away is weaker.
	local := registrytest.New(t)
	ref = local.Put(t, "app:1", img)
	demand(local, "http://registry.example/token")
	sessions, ctx, _ = lent(t, known(local.Host))
	r, _ = open(t, registry.Options{Sessions: sessions})
	_, _, err = r.Resolve(ctx, ref)
	check.Says(t, err, "http://registry.example", "not encrypted")
}

// A server of tokens that redirects passes on no password, in the header or the body.
func TestServersOfTokensRedirect(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		for _, https := range []bool{true, false} {
			other := newPlace(t, https, tokens)
			for _, first := range []string{http.MethodPost, http.MethodGet} {
				s, hosts := secure(t)
				img, _ := picture(t, 1, 1000)
				ref := s.Put(t, "app:1", img)
				realm := newPlace(t, true, func(w http.ResponseWriter, r *http.Request) {
					if r.Method != first {
						w.WriteHeader(http.StatusNotFound)
						return
					}
					http.Redirect(w, r, other.URL+"/token", status)
				})
				demand(s, realm.URL+"/token")
				sessions, ctx, _ := lent(t, known(s.Host))
				r, _ := open(t, registry.Options{Hosts: hosts, Sessions: sessions})
				if _, _, err := r.Resolve(ctx, ref); err == nil || strings.Contains(err.Error(), secretPassword) {
					t.Errorf("%d, https %v, %s: %v", status, https, first, err)
				}
				check.Says(t, errors.New(realm.received()), secretPassword)
				check.Equal(t, "the other received", other.received(), "")
			}
		}
	}
}

// An upload that goes elsewhere takes no credentials there.
func TestUploadsElsewhereTakeNoCredentials(t *testing.T) {
	for _, https := range []bool{true, false} {
		s, hosts := secure(t)
		s.Fault("/v2/", 1, basic("jane", secretPassword))
		other := newPlace(t, https, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		})
		s.Fault("POST /v2/app/blobs/uploads/", 1000, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			basic("jane", secretPassword)(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", other.URL+"/upload")
				w.WriteHeader(http.StatusAccepted)
			}))
		})
		img, _ := picture(t, 1, 1000)
		provider, desc, _ := stored(t, img)
		sessions, ctx, _ := lent(t, known(s.Host, other.Listener.Addr().String()))
		r, _ := open(t, registry.Options{Hosts: hosts, Sessions: sessions})
		if err := r.Push(ctx, provider, desc, s.Host+"/app:1", registry.PushOptions{}); err == nil {
			t.Error("no error")
		}
		check.Equal(t, "asked the other", other.asked(), true)
		check.Equal(t, "the other received a password", strings.Contains(other.received(), "Basic"), false)
	}
}

// A mirror gets what is known of itself, and not what is known of the registry.
func TestMirrorsHaveTheirOwnCredentials(t *testing.T) {
	s, mirror := registrytest.New(t), registrytest.New(t)
	img, _ := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	mirror.Put(t, "app:1", img)
	var seen []string
	mirror.Fault("/v2/", 1000, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		_, p, _ := r.BasicAuth()
		seen = append(seen, p)
		basic("jane", "mirror's")(w, r, next)
	})
	l := known(s.Host)
	l.known[mirror.Host] = session.Credentials{Username: "jane", Secret: "mirror's"}
	sessions, ctx, _ := lent(t, l)
	r, _ := open(t, registry.Options{Sessions: sessions, Hosts: map[string]config.RegistryConfig{
		s.Host: {Mirrors: []string{mirror.Host}},
		// By https, but for what is on loopback and named.
		mirror.Host: {},
	}})
	_, _, err := r.Resolve(ctx, ref)
	check.OK(t, err)
	check.Equal(t, "the mirror saw", strings.Join(seen, " "), " mirror's")
	check.Equal(t, "asked for", strings.Join(l.asked, " "), mirror.Host)
}

// What a registry signs a URL with that it redirects to is a secret for that URL: errors
// do not show it.
func TestSignedURLsAreNotShown(t *testing.T) {
	s, hosts := secure(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	gone := newPlace(t, true, nil)
	gone.Close()
	denies := newPlace(t, true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	busy := newPlace(t, true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	for _, to := range []string{gone.URL, denies.URL, busy.URL} {
		s.Fault("GET /v2/app/blobs/", 1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, to+"/blob?X-Signature="+secretPassword, http.StatusFound)
		})
		r, _ := open(t, registry.Options{Hosts: hosts, Attempts: 2})
		err := fetch(t.Context(), r, ref, layer)
		check.Says(t, err, to+"/blob")
		if strings.Contains(err.Error(), secretPassword) {
			t.Errorf("the error shows it: %v", err)
		}
	}
}
