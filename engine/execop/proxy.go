package execop

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/moby/buildkit/executor"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/network"
)

// Proxy is by what processes reach others that have no other way: a proxy for HTTP and
// HTTPS, of which the environment and the certificates of the file system tell.
type Proxy struct {
	// Policy decides about each request; nil allows all.
	Policy network.ProxyPolicy
	// Used, if not nil, is told what a step has asked for.
	Used func(ctx context.Context, asked *network.ProxyCapture)
}

// into has a process use the proxy.
func (p *Proxy) into(meta *executor.Meta) *network.ProxyCapture {
	if p == nil {
		return nil
	}
	c := network.NewProxyCapture()
	meta.Proxy = &network.ProxyConfig{Policy: p.Policy, Capture: c}
	return c
}

// tell tells what a step has asked for, in its output and to who wants to know.
func (p *Proxy) tell(ctx context.Context, asked *network.ProxyCapture, output io.Writer) {
	if asked == nil {
		return
	}
	if list := asked.Requests(); len(list) > 0 {
		text := "proxy network requests:\n"
		for _, r := range list {
			text += fmt.Sprintf("- %s %s", r.Method, r.URL)
			if r.StatusCode != 0 {
				text += fmt.Sprintf(" -> %d", r.StatusCode)
			}
			text += "\n"
		}
		_, _ = io.WriteString(output, text) // to memory
	}
	if p.Used != nil {
		p.Used(ctx, asked)
	}
}

// besides are the errors of a run beside that of the process.
func besides(err error) (all []error) {
	var exit *gatewayapi.ExitError
	if !errors.As(err, &exit) {
		return []error{err}
	}
	switch x := err.(type) {
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			all = append(all, besides(e)...)
		}
	case interface{ Unwrap() error }:
		if err != error(exit) {
			all = besides(x.Unwrap())
		}
	}
	return all
}
