package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenonbuild/tenon/engine/objects/objectstest"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

// scriptServer is a registry that a script started.
type scriptServer = registrytest.Server

// scriptPlace starts a server, and sets VAR to its host and port.
func scriptPlace(ts *testscript.TestScript, command string, args []string, start func(testing.TB) *scriptServer) {
	if len(args) != 1 {
		ts.Fatalf("usage: %s VAR", command)
	}
	w := world(ts)
	s := start(w.t)
	w.sites[s.Host] = s
	ts.Setenv(args[0], s.Host)
}

// scriptRegistryNew: registry VAR starts a registry, whose host and port VAR is.
func scriptRegistryNew(ts *testscript.TestScript, _ bool, args []string) {
	scriptPlace(ts, "registry", args, registrytest.New)
}

// scriptS3: s3 VAR starts a store that speaks S3's protocol, with the bucket "caches". VAR is
// its host and port; faults and requests are as those of a registry.
func scriptS3(ts *testscript.TestScript, _ bool, args []string) {
	scriptPlace(ts, "s3", args, objectstest.NewS3)
}

// scriptGHA: gha VAR starts a cache that speaks the protocol of GitHub Actions. VAR is its
// host and port, VAR_TOKEN a token for it; faults and requests are as those of a registry.
func scriptGHA(ts *testscript.TestScript, _ bool, args []string) {
	scriptPlace(ts, "gha", args, objectstest.NewGHA)
	ts.Setenv(args[0]+"_TOKEN", objectstest.Token("refs/heads/work", "refs/heads/main:1"))
}

// scriptAzure: azure VAR starts a store that speaks the protocol of Azure's blobs. VAR is its
// host and port; faults and requests are as those of a registry.
func scriptAzure(ts *testscript.TestScript, _ bool, args []string) {
	scriptPlace(ts, "azure", args, objectstest.NewAzure)
}

func (w *scriptWorld) registry(ts *testscript.TestScript, host string) *scriptServer {
	s := w.sites[host]
	if s == nil {
		ts.Fatalf("there is no registry %s", host)
	}
	return s
}

// scriptFault: fault HOST MATCH TIMES KIND [ARG] makes a registry fail the next
// requests whose line contains MATCH.
func scriptFault(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: fault HOST MATCH TIMES KIND [ARG]")
	}
	times, err := strconv.Atoi(args[2])
	ts.Check(err)
	n := 0
	if len(args) > 4 {
		n, err = strconv.Atoi(args[4])
		ts.Check(err)
	}
	do, ok := map[string]registrytest.Handler{
		"status": registrytest.Status(n), "drop": registrytest.Drop, "stall": registrytest.Stall,
		"cut": registrytest.Cut(n), "hang": registrytest.Hang(n), "corrupt": registrytest.Corrupt,
		"limit": registrytest.Status(http.StatusTooManyRequests, "Retry-After", "1"),
	}[args[3]]
	if !ok {
		ts.Fatalf("fault: unknown kind %q", args[3])
	}
	world(ts).registry(ts, args[0]).Fault(args[1], times, do)
}

// scriptProtect: protect HOST USER PASSWORD lets a registry ask for a password.
func scriptProtect(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: protect HOST USER PASSWORD")
	}
	world(ts).registry(ts, args[0]).Fault("", 1<<30, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if user, password, ok := r.BasicAuth(); ok && user == args[1] && password == args[2] {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="script"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
}

// scriptRequests: requests HOST MATCH prints the lines of the requests since the
// last time.
func scriptRequests(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: requests HOST MATCH")
	}
	for _, line := range world(ts).registry(ts, args[0]).Requests(args[1]) {
		fmt.Fprintln(ts.Stdout(), line)
	}
}

// scriptSite: site VAR DIR serves a directory by http, and the git repositories in
// it below /git/. VAR is its host and port.
func scriptSite(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: site VAR DIR")
	}
	git, err := exec.LookPath("git")
	ts.Check(err)
	s := httptest.NewServer(siteHandler(git, ts.MkAbs(args[1])))
	ts.Defer(s.Close)
	ts.Setenv(args[0], strings.TrimPrefix(s.URL, "http://"))
}

// siteHandler serves a directory, and the git repositories in it below /git/.
func siteHandler(git, dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(max(code, 400))
	})
	mux.Handle("/git/", &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/git", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=" + os.DevNull},
	})
	return mux
}

// scriptDistribution: distrib VAR starts Debian's docker-registry on a free port.
func scriptDistribution(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: distrib VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr := l.Addr().String()
	ts.Check(l.Close())
	config := ts.MkAbs("docker-registry.yml")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil,
		"version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", ts.MkAbs("docker-registry"), addr), 0o644))
	cmd := exec.Command("docker-registry", "serve", config)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			ts.Check(resp.Body.Close())
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("docker-registry does not answer: %v", err)
		}
	}
	ts.Setenv(args[0], addr)
}
