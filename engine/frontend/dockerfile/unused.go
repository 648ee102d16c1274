package dockerfile

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/util/suggest"
)

// uses are the names in a Dockerfile, and in the ONBUILD instructions of its base images,
// that somebody may have given a build something by.
type uses struct {
	stages   []string
	args     map[string]bool
	contexts map[string]bool // short names of images
	secrets  map[string]bool
	agents   map[string]bool
	// variable says that some names are known only when variables are expanded.
	variable bool
}

// usesOf collects the names of a program, and of the ONBUILD instructions of its bases.
func usesOf(p *program, onbuild []instructions.Command) *uses {
	u := &uses{args: map[string]bool{}, contexts: map[string]bool{}, secrets: map[string]bool{}, agents: map[string]bool{}}
	for i := range p.args {
		u.add(&p.args[i])
	}
	for _, st := range p.stages {
		if st.Name != "" {
			u.stages = append(u.stages, st.Name)
		}
		u.tree(st.Name)
		u.tree(st.BaseName)
		for _, cmd := range st.Commands {
			u.add(cmd)
		}
	}
	for _, cmd := range onbuild {
		u.add(cmd)
	}
	u.tree(p.given["SOURCE_DATE_EPOCH"]) // may name a context
	return u
}

func (u *uses) add(cmd instructions.Command) {
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		for _, kv := range c.Args {
			u.args[kv.Key] = true
		}
	case *instructions.CopyCommand:
		u.tree(c.From)
	case *instructions.RunCommand:
		// Their values are there once they have been expanded.
		if err := c.Expand(func(word string) (string, error) { return word, nil }); err != nil {
			u.variable = true
		}
		for _, m := range instructions.GetMounts(c) {
			u.mount(m)
		}
	case *instructions.OnbuildCommand:
		if t, err := trigger(c.Expression); err == nil {
			u.add(t)
		}
	}
}

func (u *uses) mount(m *instructions.Mount) {
	if m == nil {
		return
	}
	u.tree(m.From)
	names := u.secrets
	switch m.Type {
	case instructions.MountTypeSSH:
		names = u.agents
	case instructions.MountTypeSecret:
	default:
		return
	}
	for _, name := range []string{m.CacheID, m.Source, path.Base(m.Target)} {
		u.variable = u.variable || strings.Contains(name, "$")
		if name != "" && name != "." {
			names[name] = true
		}
	}
}

// tree notes the name of what a stage is built on, or files are taken from.
func (u *uses) tree(name string) {
	u.variable = u.variable || strings.Contains(name, "$")
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		u.contexts[strings.TrimSuffix(reference.FamiliarString(named), ":latest")] = true
	}
}

// lender is a client that can tell which secrets and SSH agents the caller lends.
type lender interface {
	Lent() (secrets, agents []string)
}

// warnUnused warns of what a build is given by names that nothing in its Dockerfile has:
// mistyped ones, mostly. That is no error, since many pass all that they have to each of
// their builds.
func (p *program) warnUnused(ctx context.Context, c client.Client, onbuild []instructions.Command) error {
	if p == nil {
		return nil
	}
	u := usesOf(p, onbuild)
	var args, contexts, filters, secrets, agents []string
	opts := c.BuildOpts().Opts
	for key := range opts {
		if arg, ok := strings.CutPrefix(key, "build-arg:"); ok && !predefined(arg) {
			args = append(args, arg)
		}
		if name, ok := strings.CutPrefix(key, "context:"); ok {
			name, _, _ = strings.Cut(name, "::") // its platform
			contexts = append(contexts, name)
		}
	}
	if opts["no-cache"] != "" {
		filters = strings.Split(opts["no-cache"], ",")
	}
	if l, ok := c.(lender); ok {
		secrets, agents = l.Lent()
		secrets = slices.DeleteFunc(secrets, forSources)
		agents = slices.DeleteFunc(agents, func(id string) bool { return id == "default" })
	}
	stages := map[string]bool{}
	for _, name := range u.stages {
		stages[name] = true
	}
	for _, w := range []struct {
		given []string
		known map[string]bool
		sure  bool
		says  string
	}{
		{filters, stages, true, "the cache is to be ignored for stages that are not there: %s; " + u.stagesThere()},
		{args, u.args, true, "build arguments are given that no ARG names: %s"},
		{contexts, u.contexts, !u.variable, "build contexts are given that no FROM, --from or from= names: %s"},
		{secrets, u.secrets, !u.variable, "secrets are given that no --mount=type=secret names: %s"},
		{agents, u.agents, !u.variable, "SSH agents are given that no --mount=type=ssh names: %s"},
	} {
		unused := unusedNames(w.given, w.known)
		if len(unused) == 0 || !w.sure {
			continue
		}
		if err := c.Warn(ctx, "", fmt.Sprintf(w.says, strings.Join(unused, ", ")), client.WarnOpts{Level: 1}); err != nil {
			return err
		}
	}
	return nil
}

// unusedNames are the given that are not known, each with the known that is most like it.
func unusedNames(given []string, known map[string]bool) (out []string) {
	slices.Sort(given)
	for _, name := range slices.Compact(given) {
		if known[name] || known[strings.ToLower(name)] {
			continue
		}
		text := strconv.Quote(name)
		if like, ok := suggest.Search(name, slices.Sorted(maps.Keys(known)), true); ok {
			text += fmt.Sprintf(" (did you mean %q?)", like)
		}
		out = append(out, text)
	}
	return firstOf(out)
}

// maxShown is how many names are listed.
const maxShown = 10

func firstOf(names []string) []string {
	if more := len(names) - maxShown; more > 0 {
		return append(slices.Clone(names[:maxShown]), fmt.Sprintf("and %d more", more))
	}
	return names
}

// stagesThere says which names can be given for a stage.
func (u *uses) stagesThere() string {
	if len(u.stages) == 0 {
		return "no stage has a name (FROM ... AS NAME)"
	}
	return "the stages are " + strings.Join(firstOf(u.stages), ", ")
}

// checkTarget is an error if there is no stage of that name.
func (p *program) checkTarget(target string) error {
	if p == nil {
		return nil
	}
	u := usesOf(p, nil)
	if target == "" || slices.Contains(u.stages, strings.ToLower(target)) {
		return nil
	}
	err := suggest.WrapError(fmt.Errorf("target stage %q could not be found", target), target, u.stages, false)
	return fmt.Errorf("%w; %s", err, u.stagesThere())
}

// predefined says whether a build argument means something without an ARG.
func predefined(arg string) bool {
	switch strings.ToUpper(arg) {
	case "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH":
		return true
	}
	for _, prefix := range []string{"BUILDKIT_", "BUILD", "TARGET"} {
		switch rest, ok := strings.CutPrefix(arg, prefix); {
		case !ok:
		case prefix == "BUILDKIT_", slices.Contains([]string{"PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"}, rest):
			return true
		}
	}
	return false
}

// forSources says whether a secret is one that git repositories and URLs are fetched with.
func forSources(id string) bool {
	return strings.HasPrefix(id, "GIT_AUTH_") || strings.HasPrefix(id, "HTTP_AUTH_")
}
