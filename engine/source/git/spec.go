package git

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/moby/buildkit/util/urlutil"

	"github.com/tenonbuild/tenon/engine/source/blob"
)

// spec is what an operation asks for.
type spec struct {
	// remote is what git is told: a URL, or user@host:path. Over http and https it
	// has no user and no password: those are in basic.
	remote string
	scheme string
	host   string
	// basic is an Authorization header of what was in the URL; "" for nothing.
	basic string
	// full is the remote as it was given, without passwords.
	full string

	ref    string // "" is the default branch
	subdir string // "" is all; slashes, and it climbs nowhere
	// checksum is what the commit, or the tag, must begin with; "" for anything.
	checksum string
	// byCommit takes the checksum for the commit, without looking the ref up.
	byCommit bool

	// bundle is where the commits come from in place of the remote; nil for that.
	bundle *blob.Locator
	// asBundle makes a bundle, in place of files.
	asBundle bool
	sig      signature

	keepGitDir     bool
	skipSubmodules bool
	mtimeCommit    bool
	openFiles      bool // files that cannot be executed can be written by all
	advice         bool // what git says is shown, its advice included

	// Names of secrets of the session; "" for none. They need not exist.
	tokenSecret, headerSecret string
	agent                     string // name of an SSH agent; "" for none
	knownHosts                string // lines of a known_hosts file; "" takes any host
}

// keepsGit: as in BuildKit, a part of a repository is without its .git.
func (sp spec) keepsGit() bool { return sp.keepGitDir && sp.subdir == "" }

// shown is the remote and ref for people.
func (sp spec) shown() string {
	s := sp.remote
	if sp.ref != "" {
		s += "#" + sp.ref
	}
	return s
}

// parse checks an operation. Errors do not show what may be a password.
func parse(op *pb.SourceOp) (spec, error) {
	id, _ := strings.CutPrefix(op.GetIdentifier(), "git://")
	u, err := parseURL(id)
	if err != nil {
		return spec{}, fmt.Errorf("git source: %w", err)
	}
	sp := spec{}
	for k, v := range op.GetAttrs() {
		if err := sp.attr(k, v); err != nil {
			return spec{}, fmt.Errorf("git source %s%s: %w", u.Host, u.Path, err)
		}
	}
	err = sp.setOpts(id, u.Opts)
	if err == nil {
		err = errors.Join(sp.setBundle(op.GetAttrs()), sp.sig.check())
	}
	if err != nil {
		return spec{}, fmt.Errorf("git source %s%s: %w", u.Host, u.Path, err)
	}
	if full := op.GetAttrs()[pb.AttrFullRemoteURL]; full != "" {
		f, err := parseURL(full)
		if err != nil {
			return spec{}, fmt.Errorf("git source %s%s: %s: %w", u.Host, u.Path, pb.AttrFullRemoteURL, err)
		}
		// The identifier is what policies and people see.
		if !strings.EqualFold(f.Host, u.Host) || repoPath(f.Path) != repoPath(u.Path) {
			return spec{}, fmt.Errorf("git source %s%s: %s is of another repository: %s%s", u.Host, u.Path, pb.AttrFullRemoteURL, f.Host, f.Path)
		}
		u = f
	}
	return sp, sp.setRemote(u)
}

// repoPath makes paths of one repository equal, as llb.Git writes them.
func repoPath(p string) string { return strings.TrimSuffix(path.Join("/", p), ".git") }

// parseURL reads an address; https:// may be left out.
func parseURL(s string) (*gitutil.GitURL, error) {
	if !gitutil.IsGitTransport(s) {
		s = "https://" + s
	}
	u, err := gitutil.ParseURL(s)
	if err != nil {
		return nil, errors.New("the address cannot be read: it should look like https://host/path.git or git@host:path.git")
	}
	if u.Host == "" || strings.HasPrefix(u.Host, "-") {
		return nil, errors.New("the address names no host: it should look like https://host/path.git or git@host:path.git")
	}
	if strings.ContainsFunc(u.Remote, unicode.IsControl) || strings.HasPrefix(u.Remote, "-") {
		return nil, errors.New("the address has characters that none can have")
	}
	return u, nil
}

// setRemote takes what git is told, and is shown to people, apart from passwords.
func (sp *spec) setRemote(u *gitutil.GitURL) error {
	sp.scheme, sp.host, sp.remote = strings.ToLower(u.Scheme), u.Host, u.Remote
	sp.full = urlutil.RedactCredentials(u.Remote)
	if u.User == nil {
		return nil
	}
	web := sp.scheme == gitutil.HTTPProtocol || sp.scheme == gitutil.HTTPSProtocol
	password, secret := u.User.Password()
	if !web && !secret {
		return nil // as in git@host:path
	}
	plain, err := url.Parse(u.Remote)
	if err != nil {
		return errors.New("git source: the address cannot be read")
	}
	if web {
		// A name alone may be a token, too.
		sp.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		plain.User = nil
	} else {
		plain.User = url.User(u.User.Username()) // ssh takes no password from there
	}
	sp.remote = plain.String()
	return nil
}

func (sp *spec) setOpts(id string, opts *gitutil.GitURLOpts) error {
	if opts == nil {
		return nil
	}
	if err := checkRef(opts.Ref); err != nil {
		return err
	}
	// gitutil has cut off what climbs out; that is no reason to take it silently.
	_, fragment, _ := strings.Cut(id, "#")
	_, dir, _ := strings.Cut(fragment, ":")
	for _, part := range strings.Split(dir, "/") {
		if part == ".." {
			return fmt.Errorf("the directory %q climbs out of the repository", dir)
		}
	}
	if strings.ContainsRune(opts.Subdir, 0) {
		return fmt.Errorf("the directory %q has a null in its name", opts.Subdir)
	}
	sp.ref, sp.subdir = opts.Ref, opts.Subdir
	return nil
}

// AttrOpenFiles, "true", gives files the modes that git takes from nobody's umask, as
// BuildKit did before version 0.15. Those that can be executed stay as they are.
const AttrOpenFiles = "tenon.git.openfiles"

var hexDigits = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

func (sp *spec) attr(k, v string) (err error) {
	switch k {
	case pb.AttrFullRemoteURL: // read by parse
	case pb.AttrGitAdvice:
		sp.advice = v == "true"
	case pb.AttrKeepGitDir:
		sp.keepGitDir = v == "true"
	case pb.AttrGitSkipSubmodules:
		sp.skipSubmodules = v == "true"
	case pb.AttrGitFetchByCommit:
		sp.byCommit = v == "true"
	case pb.AttrAuthTokenSecret:
		sp.tokenSecret = v
	case pb.AttrAuthHeaderSecret:
		sp.headerSecret = v
	case pb.AttrKnownSSHHosts:
		sp.knownHosts = v
	case pb.AttrMountSSHSock:
		sp.agent = v
	case pb.AttrGitChecksum:
		sp.checksum = strings.ToLower(v)
		if v != "" && !hexDigits.MatchString(sp.checksum) {
			return fmt.Errorf("invalid checksum %q: expected hex commit hash, of 4 to 64 hexadecimal digits", v)
		}
	case pb.AttrGitMTime:
		if v != "" && v != "checkout" && v != "commit" {
			return fmt.Errorf("%s %q: it is checkout or commit", k, v)
		}
		sp.mtimeCommit = v == "commit"
	case AttrOpenFiles:
		sp.openFiles = v == "true"
	case pb.AttrGitBundle, pb.AttrOCILayoutSessionID, pb.AttrOCILayoutStoreID: // see setBundle
	case pb.AttrGitCheckoutBundle:
		sp.asBundle = v == "true"
	case pb.AttrGitSignatureVerifyPubKey:
		sp.sig.keys = v
	case pb.AttrGitSignatureVerifyRejectExpired:
		sp.sig.rejectExpired = v == "true"
	case pb.AttrGitSignatureVerifyRequireSignedTag:
		sp.sig.requireTag = v == "true"
	case pb.AttrGitSignatureVerifyIgnoreSignedTag:
		sp.sig.ignoreTag = v == "true"
	default:
		if strings.HasPrefix(k, "git.") {
			return fmt.Errorf("the attribute %s is unknown", k)
		}
	}
	return nil
}

// checkRef refuses what is no name of a ref (git-check-ref-format), and with it all
// that means something else in a command.
func checkRef(ref string) error {
	bad := strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, ".") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.Contains(ref, "@{") || strings.ContainsAny(ref, " ~^:?*[\\") ||
		strings.ContainsFunc(ref, unicode.IsControl)
	if bad {
		return fmt.Errorf("%q is no name of a branch, tag or commit", ref)
	}
	return nil
}
