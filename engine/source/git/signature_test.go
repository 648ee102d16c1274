package git_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/hiddeco/sshsig"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/crypto/ssh"

	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// signs signs texts, by a public key.
type signs struct {
	key  string
	sign func(text string) string
}

func withPGP(t *testing.T) signs {
	t.Helper()
	e, err := openpgp.NewEntity("ann", "", "ann@example.com", nil)
	check.OK(t, err)
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	check.OK(t, err)
	check.OK(t, e.Serialize(w))
	check.OK(t, w.Close())
	return signs{key.String(), func(text string) string {
		var sig bytes.Buffer
		check.OK(t, openpgp.ArmoredDetachSign(&sig, e, strings.NewReader(text), nil))
		return sig.String() + "\n"
	}}
}

func withSSH(t *testing.T) signs {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check.OK(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	check.OK(t, err)
	return signs{string(ssh.MarshalAuthorizedKey(signer.PublicKey())), func(text string) string {
		sig, err := sshsig.Sign(strings.NewReader(text), signer, sshsig.HashSHA512, "git")
		check.OK(t, err)
		return string(sshsig.Armor(sig))
	}}
}

// object writes an object and has a ref name it.
func (r *repo) object(kind, ref, text string) string {
	r.t.Helper()
	r.write("../object", text)
	name := r.git("hash-object", "-t", kind, "-w", "../object")
	r.git("update-ref", ref, name)
	return name
}

// signCommit makes a commit like another one, that is signed.
func (r *repo) signCommit(by signs, like, branch string) string {
	r.t.Helper()
	text := r.git("cat-file", "commit", like) + "\n"
	head, message, _ := strings.Cut(text, "\n\n")
	sig := strings.ReplaceAll(strings.TrimSpace(by.sign(text)), "\n", "\n ")
	return r.object("commit", "refs/heads/"+branch, head+"\ngpgsig "+sig+"\n\n"+message)
}

// signTag makes a signed tag.
func (r *repo) signTag(by signs, commit, tag string) string {
	r.t.Helper()
	text := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger a <a@example> 1 +0000\n\nthe message\n", commit, tag)
	return r.object("tag", "refs/tags/"+tag, text+by.sign(text))
}

// A commit or a tag that is to be signed with one of the keys is, or it is an error before
// anything is built with it.
func TestSignatures(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t)
	r := srv.repo(t, "r")
	r.write("f", "text")
	plain := r.commit("one")
	ann, other, bob := withPGP(t), withPGP(t), withSSH(t)
	signed := r.signCommit(ann, plain, "signed")
	r.signTag(bob, signed, "both")    // the tag by another than the commit
	r.signTag(bob, plain, "tag-only") // the commit is not signed
	src := newSource(t, e)
	const require, ignore = pb.AttrGitSignatureVerifyRequireSignedTag, pb.AttrGitSignatureVerifyIgnoreSignedTag
	for _, c := range []struct {
		ref, keys, attr string
		says            string
	}{
		{"main", ann.key, "", "git object is not signed"},
		{"signed", ann.key, "", ""},
		{"signed", ann.key, pb.AttrGitSignatureVerifyRejectExpired, ""},
		{"signed", other.key, "", "signature"},
		{"signed", other.key + "\n" + ann.key, "", ""},
		{"signed", bob.key, "", "failed to read armored public key"},
		{"signed", ann.key, require, "no signed tag found"},
		{"both", bob.key, require, ""},
		{"both", ann.key, require, "failed to parse ssh public key"},
		{"both", ann.key, "", ""},
		{"both", bob.key, ignore, "failed to read armored public key"},
		{"tag-only", bob.key, "", ""},
		{"tag-only", bob.key, ignore, "git object is not signed"},
	} {
		attrs := []string{pb.AttrGitSignatureVerifyPubKey, c.keys}
		if c.attr != "" {
			attrs = append(attrs, c.attr, "true")
		}
		o := srv.op("r", "#"+c.ref, attrs...)
		in, err := src.Parse(o, nil)
		check.OK(t, err)
		ctx := e.Build(t, local.Options{})
		_, _, err = in.CacheKey(ctx, 0)
		_, asked := src.ResolveMetadata(ctx, o, sourceresolver.Opt{})
		if c.says != "" {
			check.Says(t, err, c.says)
			check.Says(t, asked, c.says)
			continue
		}
		check.OK(t, err)
		check.OK(t, asked)
		_, files := solve(t, e, src, o)
		has(t, files, map[string]string{"f": "text"})
	}
}
