package git

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/util/gitutil"
)

// resolved is what a ref is.
type resolved struct {
	ref string // in full, as in refs/heads/main; a commit where that was asked for
	// object is what the ref names: a commit, or the object of an annotated tag.
	object string
	commit string
}

// resolve looks a ref up, once a build.
func (s *Source) resolve(ctx context.Context, sp spec) (resolved, error) {
	r, ok, err := sp.known()
	if err != nil {
		return resolved{}, err
	}
	if !ok {
		key, look := sp.remote+"#"+sp.ref, s.lookUp
		if sp.bundle != nil {
			key, look = fmt.Sprintf("%s %s of bundle %s", key, sp.checksum, sp.bundle.Digest), s.lookUpInBundle
		}
		r, err = s.memo.Do(ctx, key, func() (resolved, error) { return look(ctx, sp) })
		if err != nil {
			return resolved{}, err
		}
	}
	if !strings.HasPrefix(r.commit, sp.checksum) && !strings.HasPrefix(r.object, sp.checksum) {
		return resolved{}, &ChecksumError{Ref: r.ref, Want: sp.checksum, Got: r.commit}
	}
	return r, nil
}

// ChecksumError says that a ref is another commit than it should be.
type ChecksumError struct{ Ref, Want, Got string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("expected checksum to match %s, and %s is the commit %s; if it has rightly moved, change the checksum", e.Want, e.Ref, e.Got)
}

// known tells what a ref is that says so itself.
func (sp spec) known() (resolved, bool, error) {
	if lower := strings.ToLower(sp.ref); gitutil.IsCommitSHA(lower) {
		return resolved{ref: lower, object: lower, commit: lower}, true, nil
	}
	if sp.bundle != nil && sp.ref == "" && gitutil.IsCommitSHA(sp.checksum) {
		return resolved{ref: sp.checksum, object: sp.checksum, commit: sp.checksum}, true, nil
	}
	if !sp.byCommit {
		return resolved{}, false, nil
	}
	if !gitutil.IsCommitSHA(sp.checksum) {
		return resolved{}, false, fmt.Errorf("to fetch by commit, the checksum must be a whole commit, and it is %q", sp.checksum)
	}
	r := resolved{ref: sp.ref, object: sp.checksum, commit: sp.checksum}
	switch {
	case r.ref == "":
		r.ref = r.commit
	case !strings.HasPrefix(r.ref, "refs/"):
		r.ref = "refs/heads/" + r.ref
	}
	return r, true, nil
}

// shortCommit is what git abbreviates commits to, or longer.
var shortCommit = regexp.MustCompile(`^[0-9a-f]{7,63}$`)

// lookUp asks the remote.
func (s *Source) lookUp(ctx context.Context, sp spec) (resolved, error) {
	c, err := s.client(ctx, sp)
	if err != nil {
		return resolved{}, err
	}
	defer c.close()
	name := sp.ref
	if name == "" {
		name = "the default branch"
	}
	done := c.step("resolving " + name)
	r, err := c.lsRemote(ctx)
	if err != nil {
		return resolved{}, err
	}
	if r.object == "" && shortCommit.MatchString(sp.ref) {
		err = s.withRepo(ctx, c, "", func(b *bare) error {
			r, err = b.abbreviated(ctx, sp.ref)
			return err
		})
		if err != nil {
			return resolved{}, err
		}
	}
	if r.object == "" && sp.ref == "" {
		return resolved{}, fmt.Errorf("it has no default branch: is it empty? Name a branch or tag")
	}
	if r.object == "" {
		return resolved{}, fmt.Errorf("repository does not contain ref: it has no branch or tag %q", sp.ref)
	}
	done()
	return r, nil
}

// lsRemote asks the remote for the ref. The result has no object if there is none.
func (c *client) lsRemote(ctx context.Context) (resolved, error) {
	if c.spec.ref == "" || c.spec.ref == "HEAD" {
		out, err := c.net(ctx, "", "ls-remote", "--symref", "--", c.spec.remote, "HEAD")
		if err != nil {
			return resolved{}, err
		}
		return parseHead(string(out)), nil
	}
	args := []string{"ls-remote", "--", c.spec.remote}
	for _, ref := range candidates(c.spec.ref) {
		args = append(args, ref, ref+"^{}")
	}
	out, err := c.net(ctx, "", args...)
	if err != nil {
		return resolved{}, err
	}
	return pick(string(out), c.spec.ref), nil
}

// candidates are the full names that a name may stand for, the preferred first.
func candidates(ref string) []string {
	if strings.HasPrefix(ref, "refs/") {
		return []string{ref}
	}
	return []string{"refs/" + ref, "refs/heads/" + ref, "refs/tags/" + ref}
}

// pick reads what ls-remote says: lines of an object, a tab and a ref. What an
// annotated tag is of follows with ^{} behind the ref.
func pick(out, ref string) resolved {
	objects := map[string]string{}
	for line := range strings.Lines(out) {
		object, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if ok && gitutil.IsCommitSHA(object) {
			objects[name] = object
		}
	}
	for _, name := range candidates(ref) {
		object, ok := objects[name]
		if !ok {
			continue
		}
		r := resolved{ref: name, object: object, commit: object}
		if commit, ok := objects[name+"^{}"]; ok {
			r.commit = commit
		}
		return r
	}
	return resolved{}
}

// parseHead reads what ls-remote --symref says of HEAD.
func parseHead(out string) resolved {
	r := resolved{ref: "HEAD"}
	for line := range strings.Lines(out) {
		what, name, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if name != "HEAD" {
			continue
		}
		if ref, ok := strings.CutPrefix(what, "ref: "); ok && checkRef(ref) == nil {
			r.ref = ref
		} else if gitutil.IsCommitSHA(what) {
			r.object, r.commit = what, what
		}
	}
	return r
}
