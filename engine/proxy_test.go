package engine_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

// proxied builds steps that reach others by a proxy, with networks of a mode.
type proxied struct {
	t     *testing.T
	e     *engine.Engine
	tools string
	url   string
	asked *atomic.Int32
}

func newProxied(t *testing.T, mode string) *proxied {
	t.Helper()
	testenv.Root(t)
	busybox, err := os.ReadFile(testenv.Tool(t, "busybox"))
	check.OK(t, err)
	p := &proxied{t: t, tools: t.TempDir(), asked: &atomic.Int32{}}
	check.OK(t, os.WriteFile(filepath.Join(p.tools, "busybox"), busybox, 0o755))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte("content of " + r.URL.Path))
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	p.e, err = engine.Open(t.Context(), engine.Options{Root: t.TempDir(), Runtime: runtime.Options{Network: runtime.Network{Mode: mode}}})
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, p.e.Close()) })
	return p
}

// run runs a command, and returns what it wrote and what provenance says of it.
func (p *proxied) run(command string, req engine.Request) (string, types.ProvenancePredicateSLSA1, error) {
	p.t.Helper()
	sess, err := local.New(p.t.Context(), local.Options{Dirs: map[string]string{"tools": p.tools}})
	check.OK(p.t, err)
	st := llb.Scratch()
	for _, name := range []string{"sh", "wget"} {
		st = st.File(llb.Copy(llb.Local("tools"), "busybox", "/bin/"+name, &llb.CopyInfo{CreateDestPath: true}))
	}
	def, err := st.Run(llb.Args([]string{"sh", "-c", "NO_PROXY= no_proxy= ; " + command})).Root().Marshal(p.t.Context())
	check.OK(p.t, err)
	ch := make(chan *client.SolveStatus)
	text := make(chan string)
	go func() {
		var b strings.Builder
		for s := range ch {
			for _, l := range s.Logs {
				b.Write(l.Data)
			}
		}
		text <- b.String()
	}()
	var told types.ProvenancePredicateSLSA1
	req.Definition, req.Session, req.Status, req.NoCache, req.ProxyNetwork = def.ToPB(), sess, ch, true, true
	req.Built = func(b engine.Built) { check.OK(p.t, json.Unmarshal(b.Predicate, &told)) }
	_, err = p.e.Build(p.t.Context(), req)
	return <-text, told, err
}

// A step reaches others by a proxy alone, which policies are asked about, and provenance
// tells what it has asked for.
func TestProxyNetwork(t *testing.T) {
	p := newProxied(t, "host")
	log, told, err := p.run("wget -O- "+p.url+"/a", engine.Request{})
	check.OK(t, err)
	if !strings.Contains(log, "content of /a") || !strings.Contains(log, "proxy network requests:\n- GET "+p.url+"/a -> 200\n") {
		t.Errorf("the log: %q", log)
	}
	var found bool
	for _, d := range told.BuildDefinition.ResolvedDependencies {
		found = found || d.URI == p.url+"/a" && d.Digest["sha256"] == digest.FromString("content of /a").Encoded()
	}
	meta := told.RunDetails.Metadata
	if !found || meta.BuildKitMetadata.Network == nil || meta.BuildKitMetadata.Network.Mode != "proxy" || meta.Hermetic {
		t.Errorf("provenance: %+v", told)
	}

	_, told, err = p.run("wget -O- "+p.url+"/missing; true", engine.Request{})
	check.OK(t, err)
	check.Equal(t, "complete", told.RunDetails.Metadata.Completeness.ResolvedDependencies, false)

	before := p.asked.Load()
	log, _, err = p.run("wget -O- "+p.url+"/denied", engine.Request{SourcePolicy: &spb.Policy{Rules: []*spb.Rule{{
		Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: p.url + "/denied"},
	}}}})
	check.Says(t, err, "exit code: 1")
	check.Says(t, &logError{log}, "403 Forbidden")
	log, _, err = p.run("unset HTTP_PROXY http_proxy; wget -O- "+p.url+"/around", engine.Request{})
	check.Says(t, err, "exit code: 1")
	check.Equal(t, "requests around the policy and the proxy", p.asked.Load()-before, 0)
	if strings.Contains(log, "content") {
		t.Errorf("the log: %q", log)
	}
}

type logError struct{ text string }

func (l *logError) Error() string { return l.text }

// Where steps have a network of their own, this machine's loopback is not reached by the
// proxy either; where they have none, there is no proxy.
func TestProxyReachesNoMore(t *testing.T) {
	p := newProxied(t, "auto")
	log, _, err := p.run("wget -O- "+p.url+"/a", engine.Request{})
	check.Says(t, err, "exit code: 1")
	check.Says(t, &logError{log}, "-> 502")
	check.Equal(t, "requests", p.asked.Load(), 0)
	p = newProxied(t, "none")
	_, _, err = p.run("true", engine.Request{})
	check.Says(t, err, "steps have no network here")
}
