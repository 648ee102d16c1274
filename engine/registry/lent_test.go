package registry_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/sessiontest"
	"github.com/tenonbuild/tenon/internal/check"
)

// A build that shares work with one whose client does not answer has the work done with its
// own credentials. What these have got is not used for the other client afterwards.
func TestStalledClient(t *testing.T) {
	for name, demand := range map[string]func(*registrytest.Server){
		"password": func(s *registrytest.Server) { s.Fault("/v2/", 1000, basic("jane", "pw")) },
		"token": func(s *registrytest.Server) {
			bearer(s, func(r *http.Request) int {
				if _, password, _ := r.BasicAuth(); password != "pw" {
					return http.StatusUnauthorized
				}
				return http.StatusOK
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			img, layer := picture(t, 1, 1000)
			ref := s.Put(t, "app:1", img)
			demand(s)
			l := &lender{id: "a", known: map[string]session.Credentials{s.Host: {Username: "jane", Secret: "pw"}}}
			sessions, ctx, _ := lent(t, l)
			shared, stalled := sessiontest.Beside(ctx, t, sessions)
			r, _ := open(t, registry.Options{Sessions: sessions})
			_, _, err := r.Resolve(shared, ref)
			check.OK(t, err)
			check.OK(t, fetch(shared, r, ref, layer))
			<-stalled.Asked

			ctx, cancel := context.WithCancelCause(work(t, stalled.ID()))
			asked := make(chan error)
			go func() {
				_, _, err := r.Resolve(ctx, ref)
				asked <- err
			}()
			<-stalled.Asked
			why := errors.New("enough")
			cancel(why)
			if err := <-asked; !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
				t.Errorf("the stalled client's own build: %v", err)
			}
			check.OK(t, fetch(work(t, "a"), r, ref, layer))
		})
	}
}

// A client that has no credentials answers so: others' are not looked for.
func TestAnonymousClient(t *testing.T) {
	s := registrytest.New(t)
	img, _ := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	s.Fault("/v2/", 1000, basic("jane", "pw"))
	none, l := &lender{id: "none"}, &lender{id: "a", known: map[string]session.Credentials{s.Host: {Username: "jane", Secret: "pw"}}}
	sessions, first, _ := lent(t, none, l)
	r, _ := open(t, registry.Options{Sessions: sessions})
	_, _, err := r.Resolve(sessiontest.Together(first, work(t, "a")), ref)
	check.Equal(t, "denied", errors.Is(err, registry.ErrDenied), true)
	check.Equal(t, "others were asked", len(l.asked), 0)
}
