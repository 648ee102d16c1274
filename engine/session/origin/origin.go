// Package origin is what a credential for the web is bound to: a scheme, a host and a
// port. Whoever follows a redirect asks anew what the next origin may have.
package origin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Origin is where requests go. Two are equal if they are the same place: names are in
// lower case, and the port is always given.
type Origin struct{ scheme, host, port string }

// Of returns the origin of a URL.
func Of(u *url.URL) Origin {
	o := Origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if o.port == "" {
		o.port = defaultPorts[o.scheme]
	}
	return o
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// String is the origin as a URL without a path; the port only if it is not the scheme's.
func (o Origin) String() string { return o.scheme + "://" + o.shortest() }

// HTTPS says whether what is sent is encrypted, for a server that shows who it is.
func (o Origin) HTTPS() bool { return o.scheme == "https" }

// Private says whether a secret can be sent there without others on the way reading it:
// by https, or within this machine.
func (o Origin) Private() bool { return o.HTTPS() || o.scheme == "http" && o.Loopback() }

// Weaker says whether others can read more easily what is sent to o than what is sent to
// p: https is the strongest, then this machine, then plain http.
func (o Origin) Weaker(p Origin) bool {
	if p.HTTPS() {
		return !o.HTTPS()
	}
	return p.Private() && !o.Private()
}

// Loopback says whether the host is this machine by its name.
func (o Origin) Loopback() bool {
	ip, err := netip.ParseAddr(o.host)
	return o.host == "localhost" || err == nil && ip.IsLoopback()
}

// Names are how the name of a secret may name this origin, the preferred first. A host
// alone is the default port of https; one with a port is https on that port; plain http
// has to be named with its scheme, unless the host is this machine.
func (o Origin) Names() []string {
	withPort := net.JoinHostPort(o.host, o.port)
	hosts := []string{withPort}
	if short := o.shortest(); short != withPort {
		hosts = []string{short, withPort}
	}
	var names []string
	if o.Private() {
		names = append(names, hosts...)
	}
	for _, h := range hosts {
		names = append(names, o.scheme+"://"+h)
	}
	return names
}

// shortest is the host, with the port if that is not the scheme's.
func (o Origin) shortest() string {
	if o.port != defaultPorts[o.scheme] {
		return net.JoinHostPort(o.host, o.port)
	}
	if strings.Contains(o.host, ":") {
		return "[" + o.host + "]"
	}
	return o.host
}

// Leave takes out of the header of a redirected request what was for the place that it
// was redirected from.
func Leave(h http.Header) {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "Cookie2", "Referer"} {
		h.Del(name)
	}
}
