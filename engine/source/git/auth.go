package git

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/origin"
)

// What a session lends to authenticate by http goes to git as a header for one URL. Git
// would send it on to wherever a redirect leads: it asks the place that it is led to with
// the same header. So git follows no redirects from that URL. They are followed here,
// before git is run, asking anew for each place what it may have; git is then told
// (url.*.insteadOf) where the repository is.

// admitted is how a repository is reached.
type admitted struct {
	remote string // what it is called
	at     string // where it is
	header string // of the requests; "" for none
}

// admit finds out how a repository is reached, if that is by http or https. Those with
// names or passwords in their own URLs, which only submodules have, are left to git.
func (c *client) admit(ctx context.Context, remote string) error {
	u, err := url.Parse(remote)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Host == "" {
		return nil
	}
	a := admitted{remote: remote, at: remote}
	for n := 0; ; n++ {
		var name string
		if name, a.header, err = c.credential(ctx, remote, u); err != nil {
			return err
		}
		if n == 0 && a.header == "" && !c.thorough {
			break // git may follow what leads it on: it has nothing to give away
		}
		next, err := c.source.moved.Do(ctx, name+" "+u.String(), func() (*url.URL, error) {
			return c.source.movedTo(ctx, u, a.header)
		})
		if err != nil {
			return err
		}
		if next == nil {
			break
		}
		if n == maxRedirects {
			return fmt.Errorf("%s redirects more than %d times", remote, maxRedirects)
		}
		u, a.at = next, next.String()
	}
	c.web = slices.DeleteFunc(c.web, func(old admitted) bool { return old.remote == remote })
	c.web = append(c.web, a)
	return nil
}

// readmit looks again at all repositories, thoroughly, and says whether any of them is now
// reached in another way.
func (c *client) readmit(ctx context.Context) (bool, error) {
	before := slices.Clone(c.web)
	c.thorough = true
	for _, a := range before {
		if err := c.admit(ctx, a.remote); err != nil {
			return false, err
		}
	}
	return !slices.Equal(before, c.web), nil
}

// webConfig is what git is configured with to reach what was admitted.
func (c *client) webConfig() (config [][2]string) {
	moved := slices.ContainsFunc(c.web, func(a admitted) bool { return a.at != a.remote })
	for _, a := range c.web {
		if moved {
			// Also those that have not moved: git replaces beginnings of URLs, the longest
			// that is known.
			config = append(config, [2]string{"url." + a.at + ".insteadOf", a.remote})
		}
		// The empty header clears those of a URL that this one begins with.
		config = append(config, [2]string{"http." + a.at + ".extraHeader", ""})
		follow := "initial"
		if a.header != "" {
			follow = "false"
			config = append(config, [2]string{"http." + a.at + ".extraHeader", "Authorization: " + a.header})
		}
		config = append(config, [2]string{"http." + a.at + ".followRedirects", follow})
	}
	return config
}

// credential returns the header for a place that a repository may be at, "" for none, and
// the name of the secret that it is. A secret that is named after the place goes before
// one that is not, a header before a token, and both before what is in the address.
func (c *client) credential(ctx context.Context, remote string, at *url.URL) (name, header string, err error) {
	sp, place := c.spec, origin.Of(at)
	type secret struct {
		name  string
		token bool
	}
	var tried []secret
	for _, p := range place.Names() {
		tried = append(tried, secret{perPlace(sp.headerSecret, p), false}, secret{perPlace(sp.tokenSecret, p), true})
	}
	if c.general(remote, at) {
		tried = append(tried, secret{sp.headerSecret, false}, secret{sp.tokenSecret, true})
	}
	for _, s := range tried {
		value, err := c.secret(ctx, s.name)
		if err != nil {
			return "", "", err
		}
		if value == "" {
			continue
		}
		if s.token {
			c.secrets = append(c.secrets, value)
			value = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+value))
		}
		return s.name, value, c.hide(s.name, value)
	}
	if main := c.mainURL(); sp.basic != "" && main != nil && place == origin.Of(main) {
		// As with a URL that has a password, submodules beside it may use it.
		return "the address", sp.basic, c.hide("the address", sp.basic)
	}
	return "", "", nil
}

func perPlace(name, place string) string {
	if name == "" {
		return ""
	}
	return name + "." + place
}

// general says whether a place may have the secrets that are named after no place: where
// the repository itself is, which the build names, if others cannot read what is sent
// there. At GitHub one token is commonly good for all repositories, submodules among them.
func (c *client) general(remote string, at *url.URL) bool {
	main := c.mainURL()
	place := origin.Of(at)
	if main == nil || !place.Private() {
		return false
	}
	if hub(main) && hub(at) {
		return true
	}
	if remote != c.spec.remote {
		return false
	}
	secured := *main // the same server by https: many redirect there
	secured.Scheme = "https"
	return place == origin.Of(main) || main.Port() == "" && place == origin.Of(&secured)
}

func hub(u *url.URL) bool {
	return u.Scheme == "https" && u.Port() == "" && (u.Host == "github.com" || u.Host == "www.github.com")
}

// mainURL is the address of the repository itself; nil if it is not one of the web.
func (c *client) mainURL() *url.URL {
	u, err := url.Parse(c.spec.remote)
	if err != nil || u.Host == "" {
		return nil
	}
	return u
}

// hide checks a header, and keeps it out of what git says.
func (c *client) hide(name, value string) error {
	if strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("the secret %s has several lines, which a header cannot have", name)
	}
	c.secrets = append(c.secrets, value)
	if _, coded, ok := strings.Cut(value, " "); ok {
		c.secrets = append(c.secrets, coded)
	}
	return nil
}

// secret returns a secret of the sessions, "" if there is none: see session.Ask.
func (c *client) secret(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	dt, err := session.Ask(ctx, c.source.opt.Sessions, func(ctx context.Context, s session.Session) ([]byte, error) {
		return s.Secret(ctx, name)
	})
	if errors.Is(err, session.ErrNotFound) {
		return "", nil
	}
	return strings.TrimRight(string(dt), "\r\n"), err
}
