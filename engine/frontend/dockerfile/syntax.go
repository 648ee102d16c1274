package dockerfile

import (
	"context"
	"errors"
	"fmt"
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

func checkCaps(required string) error {
	if required == "" {
		return nil
	}
	for c := range strings.SplitSeq(required, ",") {
		// "+forward" lets another frontend image take over, which there is not.
		if name, _, _ := strings.Cut(c, "+"); !caps[name] {
			return errdefs.NewUnsupportedFrontendCapError(name)
		}
	}
	return nil
}

// own are the repositories whose images are the Dockerfile frontend: this one
// serves them, whatever the version.
var own = map[string]bool{
	"docker.io/docker/dockerfile":          true,
	"docker.io/docker/dockerfile-upstream": true,
}

// noter is a client that can tell the user something.
type noter interface {
	Note(ctx context.Context, text string)
}

// syntax looks at which frontend the Dockerfile asks for: this one, or an error.
func syntax(ctx context.Context, c client.Client, opts map[string]string, src *dockerui.Source) error {
	ref, where := "", []parser.Range(nil)
	if arg := strings.TrimSpace(opts["build-arg:BUILDKIT_SYNTAX"]); arg != "" {
		ref, _, _ = strings.Cut(arg, " ")
	} else if found, _, at, ok := parser.DetectSyntax(src.Data); ok {
		ref, where = found, at
	}
	if ref == "" {
		return nil
	}
	name, err := reference.ParseNormalizedNamed(ref)
	if err == nil && own[name.Name()] {
		if n, ok := c.(noter); ok {
			n.Note(ctx, fmt.Sprintf("[internal] %s is served by the built-in Dockerfile frontend", ref))
		}
		return nil
	}
	if err != nil {
		err = fmt.Errorf("syntax=%s is not the name of an image: %w", ref, err)
	} else {
		err = fmt.Errorf("syntax=%s: frontend images are not run yet; the built-in frontend serves docker/dockerfile, so remove the line if the file is a plain Dockerfile", ref)
	}
	return at(err, src, where)
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
