package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// caps are what a caller may require of a Dockerfile frontend, with the names that
// BuildKit gave them.
var caps = map[string]bool{
	"moby.buildkit.frontend.inputs":         true,
	"moby.buildkit.frontend.subrequests":    true,
	"moby.buildkit.frontend.contexts":       true,
	"moby.buildkit.frontend.gitquerystring": true,
	"moby.buildkit.frontend.contexts.zstd":  true,
}

// checkCaps is an error if a capability is required that is not there. An image that the
// Dockerfile names may have one that is marked so.
func checkCaps(required string, image bool) error {
	for c := range strings.SplitSeq(required, ",") {
		name, how, _ := strings.Cut(c, "+")
		if name != "" && !caps[name] && !(image && how == "forward") {
			return errdefs.NewUnsupportedFrontendCapError(name)
		}
	}
	return nil
}

// own are the repositories whose images are the Dockerfile frontend.
var own = map[string]bool{
	"docker.io/docker/dockerfile":          true,
	"docker.io/docker/dockerfile-upstream": true,
}

// newest is the minor number of the newest version 1 that this frontend covers.
const newest = 27

// covers says whether this frontend serves in place of an image: not if it is pinned, or
// newer. A tag may end with a channel: 1-labs, 1.20-labs.
func covers(name reference.Named) bool {
	if _, pinned := name.(reference.Digested); pinned || !own[name.Name()] {
		return false
	}
	tagged, ok := name.(reference.Tagged)
	if !ok {
		return true
	}
	version, channel, _ := strings.Cut(tagged.Tag(), "-")
	switch {
	case slices.Contains([]string{"latest", "master", "labs"}, version):
		return channel == "" || channel == "labs"
	case channel != "" && channel != "labs" && channel != "experimental":
		return false
	}
	parts := strings.Split(version, ".")
	if parts[0] != "1" || len(parts) > 3 {
		return false
	}
	if len(parts) == 1 {
		return true
	}
	minor, err := strconv.Atoi(parts[1])
	return err == nil && minor <= newest
}

// noter is a client that can tell the user something.
type noter interface {
	Note(ctx context.Context, text string)
}

// imageAttr is the attribute that has the image run that a Dockerfile names ("image"),
// also where this frontend covers it.
const imageAttr = "syntax"

// syntax looks at which frontend the Dockerfile asks for. If it is an image that is to be
// run, it returns what that gives.
func syntax(ctx context.Context, c client.Client, opts map[string]string, src *dockerui.Source) (*client.Result, error) {
	builtin := func() (*client.Result, error) { return nil, checkCaps(opts["frontend.caps"], false) }
	if _, asked := opts["cmdline"]; asked {
		return builtin() // this frontend was asked for by its name
	}
	ref, cmdline, where := "", strings.TrimSpace(opts["build-arg:BUILDKIT_SYNTAX"]), []parser.Range(nil)
	if cmdline != "" {
		ref, _, _ = strings.Cut(cmdline, " ")
	} else if found, line, at, ok := parser.DetectSyntax(src.Data); ok {
		ref, cmdline, where = found, line, at
	}
	if ref == "" {
		return builtin()
	}
	name, err := reference.ParseNormalizedNamed(ref)
	if err != nil && ref != Name {
		return nil, at(fmt.Errorf("syntax=%s is not the name of an image: %w", ref, err), src, where)
	}
	switch opts[imageAttr] {
	case "image":
	case "", "builtin":
		if err == nil && !covers(name) {
			break
		}
		if n, ok := c.(noter); ok {
			n.Note(ctx, fmt.Sprintf("[internal] %s is served by the built-in Dockerfile frontend", ref))
		}
		return builtin()
	default:
		return nil, fmt.Errorf("%s=%q: it should be image or builtin", imageAttr, opts[imageAttr])
	}
	res, err := forward(ctx, c, opts, ref, cmdline)
	if err != nil && len(errdefs.Sources(err)) == 0 {
		err = at(err, src, where)
	}
	return res, err
}

// forward has an image do the work of this frontend.
func forward(ctx context.Context, c client.Client, opts map[string]string, ref, cmdline string) (*client.Result, error) {
	asked := opts
	opts = map[string]string{}
	maps.Copy(opts, asked) // which may be nil
	delete(opts, imageAttr)
	opts["cmdline"], opts["source"] = cmdline, ref
	states, err := c.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	inputs := map[string]*pb.Definition{}
	for name, st := range states {
		def, err := st.Marshal(ctx)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", name, err)
		}
		inputs[name] = def.ToPB()
	}
	return c.Solve(ctx, client.SolveRequest{Frontend: "gateway.v0", FrontendOpt: opts, FrontendInputs: inputs})
}

// withLocations adds to an error of the parser the lines that it is about.
func withLocations(err error, src *dockerui.Source) error {
	var located *parser.LocationError
	if errors.As(err, &located) {
		for _, where := range located.Locations {
			err = at(err, src, where)
		}
	}
	return err
}

// at adds to an error the lines of the Dockerfile that it is about.
func at(err error, src *dockerui.Source, where []parser.Range) error {
	m := src.SourceMap
	if m == nil || len(where) == 0 {
		return err
	}
	info := &pb.SourceInfo{Data: m.Data, Filename: m.Filename, Language: m.Language}
	if m.Definition != nil {
		info.Definition = m.Definition.ToPB()
	}
	return errdefs.WithSource(err, &errdefs.Source{Info: info, Ranges: ranges(where)})
}
