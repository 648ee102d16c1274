package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/suggest"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/why"
)

// nearBuilds is how many builds are looked at for one whose name is near.
const nearBuilds = 200

// noSuch says that a text names no step of a build, and, if it was to be a build or a step, no
// build. It names what is near.
func noSuch(ctx context.Context, past history.Reader, b *why.Build, text string, orBuild bool) error {
	err := fmt.Errorf("build %s has no step %q", shortRef(b.Ref), text)
	var near []string
	if orBuild {
		err = fmt.Errorf("there is no build %q, and the last one (%s) has no such step", text, shortRef(b.Ref))
		if ref := nearBuild(ctx, past, text); ref != "" {
			near = append(near, "the build "+ref)
		}
	}
	if name := nearStep(b, text); name != "" {
		near = append(near, fmt.Sprintf("the step %q", oneLine(name, 80)))
	}
	if len(near) > 0 {
		return fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))
	}
	err = fmt.Errorf("%w: tenon history show %s lists its steps", err, shortRef(b.Ref))
	if orBuild {
		err = fmt.Errorf("%w, tenon history ls the builds", err)
	}
	return err
}

// findBuild finds the record of a build. If there is none, it names one that is near.
func findBuild(ctx context.Context, past history.Reader, name string) (*controlapi.BuildHistoryRecord, error) {
	rec, err := past.Find(ctx, name)
	var unknown *history.NotFoundError
	if !errors.As(err, &unknown) {
		return rec, err
	}
	if near := nearBuild(ctx, past, name); near != "" {
		return nil, fmt.Errorf("%w: did you mean %s?", err, near)
	}
	return nil, fmt.Errorf("%w: tenon history ls lists the builds that are kept", err)
}

// nearStep is the name of a step that has something like a text: as its beginning, its first
// word, or its stage.
func nearStep(b *why.Build, text string) string {
	names := map[string]string{}
	var options []string
	for i := range b.Steps {
		s := &b.Steps[i]
		if !why.IsStep(s) {
			continue
		}
		words := append(strings.Fields(s.Place.Instruction), s.Place.Instruction, s.Place.Stage, s.Name)
		for _, w := range words {
			w = strings.ToLower(beginning(w, text))
			if _, there := names[w]; !there && len(w) > 2 {
				names[w] = s.Name
				options = append(options, w)
			}
		}
	}
	found, _ := suggest.Search(strings.ToLower(text), options, true)
	if found == "" {
		found = strings.ToLower(text) // a part of a name but for its case
		for i := range b.Steps {
			if s := &b.Steps[i]; why.IsStep(s) && strings.Contains(strings.ToLower(s.Name), found) {
				return s.Name
			}
		}
	}
	return names[found]
}

// nearBuild is the name of a build that begins almost as a text.
func nearBuild(ctx context.Context, past history.Reader, text string) string {
	if len(text) < 6 {
		return ""
	}
	refs := map[string]string{}
	var options []string
	_ = past.Each(ctx, func(rec *controlapi.BuildHistoryRecord) (bool, error) { // an error leaves it out
		options = append(options, beginning(rec.Ref, text))
		refs[options[len(options)-1]] = shortRef(rec.Ref)
		return len(options) < nearBuilds, nil
	})
	found, _ := suggest.Search(text, options, true)
	return refs[found]
}

// beginning is as much of a name as a text is long.
func beginning(name, text string) string {
	n := min(len(name), len(text))
	for n > 0 && n < len(name) && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}
