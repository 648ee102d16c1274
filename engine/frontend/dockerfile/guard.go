package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/bits"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/gateway/client"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
)

// guard is the client of a conversion that stops it where it would not end by itself:
// images whose ONBUILD instructions name images, again and again, and variables of
// base images that grow. All else a conversion asks the client for goes through.
type guard struct {
	client.Client
	stop context.CancelCauseFunc // ends the conversion

	mu      sync.Mutex // guards what follows
	program *program   // nil until it is known, and for a Dockerfile that cannot be read
	lookups int
	base    map[string]int         // see expansion
	onbuild []instructions.Command // of base images
}

// watch has the guard look at the conversions of a program, for so many platforms.
func (g *guard) watch(p *program, platforms int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.program, g.base = p, map[string]int{}
	if p == nil {
		return nil
	}
	g.lookups = (p.parts + maxLookups) * max(platforms, 1)
	return (&expansion{program: p}).check()
}

// ResolveImageConfig implements client.Client.
func (g *guard) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if err := context.Cause(ctx); err != nil { // a conversion does not look
		return "", "", nil, err
	}
	name, dgst, config, err := g.Client.ResolveImageConfig(ctx, ref, opt)
	if err == nil {
		err = g.learn(name, config)
	}
	return name, dgst, config, err
}

// learn takes account of what an image adds to the conversion.
func (g *guard) learn(ref string, config []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.program == nil {
		return nil
	}
	if g.lookups--; g.lookups < 0 {
		return fmt.Errorf("%s: the Dockerfile names %d things, and to build it takes more than %d images beside these, which ONBUILD instructions name: one of them may name an image that it is in itself", ref, g.program.parts, maxLookups)
	}
	var img dockerspec.DockerOCIImage
	if json.Unmarshal(config, &img) != nil {
		return nil // the conversion says so
	}
	env, err := g.environment(ref, img.Config)
	if err != nil {
		return err
	}
	grown := false
	for name, size := range env.of {
		if size > g.base[name] {
			// Rounded, so that there is little to reckon again with the next image.
			g.base[name], grown = 1<<bits.Len(uint(max(size, 255))), true
		}
	}
	if !grown {
		return nil
	}
	return (&expansion{program: g.program, base: g.base}).check()
}

// triggers are the ONBUILD instructions of the images seen so far.
func (g *guard) triggers() []instructions.Command {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.onbuild)
}

// environment are the variables that an image sets, itself and by what it has done
// when it is built on.
func (g *guard) environment(ref string, c dockerspec.DockerOCIImageConfig) (*sizes, error) {
	env := &sizes{of: map[string]int{}}
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		env.set(name, len(value))
	}
	if len(env.of) > maxParts || env.sum > maxValue {
		return nil, fmt.Errorf("%s: its environment has %d variables and %d bytes; it can have %d and %d", ref, len(env.of), env.sum, maxParts, maxValue)
	}
	cmds, err := triggers(ref, c.OnBuild)
	if err != nil || len(cmds) == 0 {
		return env, err
	}
	g.onbuild = append(g.onbuild, cmds...)
	e := &expansion{program: g.program, base: maps.Clone(g.base)}
	global, err := e.globals()
	if err != nil {
		return nil, err
	}
	st := &stage{env: env}
	if err := e.commands(cmds, st, global); err != nil {
		return nil, fmt.Errorf("ONBUILD of %s: %w", ref, err)
	}
	return st.env, nil
}

// Solve implements client.Client.
func (g *guard) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	res, err := g.Client.Solve(ctx, req)
	if err != nil || res.Ref == nil {
		return res, err
	}
	res.Ref = &ignoring{Reference: res.Ref, stop: g.stop}
	return res, nil
}

// Warn implements client.Client.
func (g *guard) Warn(ctx context.Context, dgst digest.Digest, msg string, opts client.WarnOpts) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return g.Client.Warn(ctx, dgst, msg, opts)
}

// unlessEnded returns what convert returns, or, when ctx ends, its error: the library
// that converts does not look at its context for minutes. A conversion that is left
// alone gets nothing from its guard any more, and ends within the bounds that it has
// been held to.
func unlessEnded[T any](ctx context.Context, convert func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		var out outcome
		defer func() {
			if r := recover(); r != nil {
				out.err = fmt.Errorf("the Dockerfile frontend panicked: %v\n%s", r, debug.Stack())
			}
			done <- out
		}()
		out.value, out.err = convert()
	}()
	select {
	case out := <-done:
		if ctx.Err() == nil {
			return out.value, out.err
		}
	case <-ctx.Done():
	}
	var none T
	return none, context.Cause(ctx)
}
