package git

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// commandError is what git said when it failed.
type commandError struct {
	command string
	said    string // without secrets
	err     error
}

func (e *commandError) Unwrap() error { return e.err }

// maxSaid is how much of what git said is shown.
const maxSaid = 2000

func (e *commandError) Error() string {
	said := strings.TrimSpace(e.said)
	if len(said) > maxSaid {
		said = "..." + said[len(said)-maxSaid:]
	}
	if said == "" {
		said = fmt.Sprint(e.err)
	}
	if hint := e.hint(); hint != "" {
		said += "\n" + hint
	}
	return "git " + e.command + ": " + said
}

func (e *commandError) says(texts ...string) bool {
	for _, t := range texts {
		if strings.Contains(e.said, t) {
			return true
		}
	}
	return false
}

// hint says what to do about a failure that is known.
func (e *commandError) hint() string {
	switch {
	case denied(e):
		return "if it is private, lend a token (--secret id=GIT_AUTH_TOKEN,env=...) or a header (GIT_AUTH_HEADER), which are sent by https only; " +
			"for a submodule or a redirect to another server, name the server: GIT_AUTH_TOKEN.HOST; it may also not exist"
	case e.says("error: 301", "error: 302", "error: 303", "error: 307", "error: 308"):
		return "it redirects to what is no repository, or more than a few times: name the address that it leads to"
	case tooMuch(e):
		return "the server sends more than there is room for: of the disk a hundredth, at most 1 GiB, is left free (tenon prune makes room), and git may have 4 GiB of memory"
	case e.says("Permission denied (publickey"):
		return "lend an SSH agent that has the key: --ssh default"
	case e.says("Host key verification failed"):
		return "the host is not the one whose key is known: see git.knownsshhosts"
	case e.says("transport 'file' not allowed", "transport 'ext' not allowed", "not allowed"):
		return "repositories and submodules are fetched over http, https, ssh and git only"
	}
	return ""
}

// denied: the server wants other credentials.
func denied(err error) bool {
	e, ok := errors.AsType[*commandError](err)
	return ok && e.says("terminal prompts disabled", "could not read Username", "Authentication failed", "error: 403")
}

// unadvertised: the server gives out only what its refs name, or cannot give out
// single commits at all.
func unadvertised(err error) bool {
	e, ok := errors.AsType[*commandError](err)
	return ok && e.says("not our ref", "unadvertised object", "did not contain", "dumb http", "does not support shallow",
		"couldn't find remote ref", "no such remote ref", "Server does not allow request")
}

// broken: the bare repository is not what git left there.
func broken(err error) bool {
	e, ok := errors.AsType[*commandError](err)
	return ok && e.says("not a git repository", "corrupt", "bad object", "unable to read tree", "missing blob", "invalid object",
		"failed to unpack tree object", "unable to read sha1 file", "bad tree object",
		"File exists", "shallow file has changed", "pack has bad", "bad config", "bad shallow line", "unterminated line in", "unexpected line in", "does not point to a valid object", "unable to parse object")
}

// tooMuch: the bounds of limits were reached, or those of the machine.
func tooMuch(err error) bool {
	e, ok := errors.AsType[*commandError](err)
	return ok && e.says("File too large", "No space left on device", "Out of memory", "out of memory", "Cannot allocate memory")
}

// passing: the net or the server broke off, and may not the next time.
func passing(err error) bool {
	e, ok := errors.AsType[*commandError](err)
	return ok && !tooMuch(err) && e.says("early EOF", "RPC failed", "Connection reset", "timed out", "Timeout", "transfer closed", "Empty reply",
		"Operation too slow", "error: 429", "error: 500", "error: 502", "error: 503", "error: 504", "unexpected disconnect",
		"the remote end hung up", "Could not resolve host", "Temporary failure in name resolution")
}

// net runs git over the net, again where that broke off.
func (c *client) net(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return c.again(ctx, func() ([]byte, error) {
		return c.run(ctx, remoteProtocols, dir, "", args...)
	})
}

func (c *client) again(ctx context.Context, do func() ([]byte, error)) ([]byte, error) {
	wait := c.source.opt.Wait
	for n := 1; ; n++ {
		out, err := do()
		if denied(err) && !c.thorough {
			changed, aerr := c.readmit(ctx)
			if aerr != nil {
				return nil, aerr
			}
			if changed {
				out, err = do()
			}
		}
		if err == nil || !passing(err) || n >= c.source.opt.Attempts {
			return out, err
		}
		c.progress.Log(2, fmt.Appendf(nil, "%v; trying again in %s\n", err, wait))
		timer := time.NewTimer(wait)
		wait *= 2
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
