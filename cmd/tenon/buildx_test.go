package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// asked is something that docker buildx build can be asked for, as of v0.38 with
// BuildKit v0.33: a flag, an attribute of an output, a build argument or a variable of
// the environment. It works, or it is refused in words.
type asked struct {
	args   string   // beside the context; fields are cut at spaces
	env    []string // name, value, ...
	says   string   // what is said on either stream, as a regular expression
	makes  string   // FILE or FILE:REGEXP, below the working directory
	refuse string   // the error, as a regular expression: it does not work
}

// What has a behaviour of its own to be tested at length is tested in scripts: here it
// is shown to be taken, and to do something.
var buildxFlags = map[string][]asked{
	"add-host":        {{args: "--add-host db=10.1.2.3 --target hosts -o o", makes: `o/hosts:10\.1\.2\.3\s+db`}},
	"allow":           {{args: "--allow security.insecure"}, {args: "--allow device=x", refuse: `--allow device=x: CDI devices`}, {args: "--allow nonsense", refuse: `nonsense`}, {args: "--allow buildx.local.delete=1", refuse: `it has no value`}},
	"annotation":      {{args: "--annotation manifest:a.b=c -o type=oci,dest=a.tar,tar=false -t x", makes: "a.tar/index.json"}, {args: "--annotation manfest:a=b -t x", refuse: `--annotation "manfest:a=b": before the colon`}},
	"attest":          {{args: "--attest type=provenance,disabled=true"}, {args: "--attest type=provenance,mode=min -o at", makes: "at/provenance.json:slsa.dev/provenance/v1"}, {args: "--attest type=x", refuse: "say type=provenance or type=sbom"}, {args: "--attest type=sbom --sbom true", refuse: "type=sbom is asked for twice"}},
	"build-arg":       {{args: "--build-arg A=given --target arg -o o", makes: "o/arg:^given$"}},
	"build-context":   {{args: "--build-context other=sub --target named -o o", makes: "o/g"}},
	"builder":         {{args: "--builder x", refuse: `--builder is not there: there are no builder instances`}},
	"cache-from":      {{args: "--cache-from type=local,src=nothing", says: "there is no cache in .*nothing: built without"}},
	"cache-to":        {{args: "--cache-to type=local,dest=travels", makes: "travels/index.json:latest"}},
	"call":            {{args: "--call targets", says: "named"}, {args: "--call subrequests.describe", says: "List available subrequest types"}, {args: "--call check,format=json,ignorestatus=true -f warned", says: `"ruleName"`}, {args: "--call dance", refuse: "it can be build"}},
	"cgroup-parent":   {{args: "--cgroup-parent tenon-test --target run"}},
	"check":           {{args: "--check -f clean", says: "no warnings found"}},
	"compress":        {{args: "--compress", refuse: "--compress is not there"}},
	"cpu-period":      {{args: "--cpu-period 1", refuse: "--cpu-period is not there.*--cgroup-parent"}},
	"cpu-quota":       {{args: "--cpu-quota 1", refuse: "--cpu-quota is not there"}},
	"cpu-shares":      {{args: "-c 1", refuse: "--cpu-shares is not there"}},
	"cpuset-cpus":     {{args: "--cpuset-cpus 0", refuse: "--cpuset-cpus is not there"}},
	"cpuset-mems":     {{args: "--cpuset-mems 0", refuse: "--cpuset-mems is not there"}},
	"file":            {{args: "-f warned", says: "FromAsCasing"}, {args: "-f nowhere", refuse: "there is no Dockerfile"}},
	"force-rm":        {{args: "--force-rm"}},
	"iidfile":         {{args: "--iidfile id -t x", makes: "id:^sha256:"}, {args: "--iidfile id -o o", refuse: "--iidfile needs an image"}},
	"isolation":       {{args: "--isolation process", refuse: "--isolation is not there"}},
	"label":           {{args: "--label l=v -t x"}},
	"load":            {{args: "--load -t x", env: []string{"PATH", "/nowhere"}, refuse: "docker"}},
	"memory":          {{args: "-m 1g", refuse: "--memory is not there"}},
	"memory-swap":     {{args: "--memory-swap 1g", refuse: "--memory-swap is not there"}},
	"metadata-file":   {{args: "--metadata-file m -t x", makes: `m:"containerimage.digest": "sha256:`}},
	"network":         {{args: "--network none --target run"}, {args: "--network bridge", refuse: `--network "bridge"`}},
	"no-cache":        {{args: "--no-cache", says: "1 executed"}},
	"no-cache-filter": {{args: "--no-cache-filter plain", says: "1 executed"}},
	"output":          {{args: "-o o", makes: "o/f"}, {args: "--output type=nothing", refuse: "not known"}},
	"platform":        {{args: "--platform linux/amd64,linux/arm64 -o o2", makes: "o2/linux_arm64/f"}},
	"policy":          {{args: "--policy disabled=true -f ruled"}, {args: "--policy filename=x", refuse: "--policy filename=x: source policies"}, {args: "-f ruled", refuse: `ruled.rego: source policies are not there yet: --policy disabled=true`}},
	"print":           {{args: "--print targets", refuse: "--print is not there"}},
	"progress":        {{args: "--progress plain", says: "#1 "}, {args: "--progress none -t x", says: `^$`}, {args: "--progress quiet -t x", says: `^sha256:[0-9a-f]{64}\n$`}, {args: "--progress x", refuse: "--progress"}},
	"provenance":      {{args: "--provenance false"}, {args: "--provenance=disabled=true"}, {args: "--provenance mode=max,version=v0.2 -o at", makes: "at/provenance.json:buildConfig"}, {args: "--provenance true -o type=oci,dest=at.tar,tar=false", makes: "at.tar/index.json:image.index"}, {args: "--provenance mode=x", refuse: "there are min and max"}, {args: "--provenance version=v3", refuse: "there are v1 and v0.2"}},
	"pull":            {{args: "--pull"}},
	"push":            {{args: "--push", refuse: "--push needs the image's name"}, {args: "--push -t 127.0.0.1:1/x", refuse: "connection refused"}},
	"quiet":           {{args: "-q -t x", says: `^sha256:[0-9a-f]{64}\n$`}, {args: "-q --progress plain", refuse: "--quiet and --progress=plain"}},
	"resource":        {{args: "--resource memory=1g", refuse: "--resource is not there.*--cgroup-parent"}},
	"rm":              {{args: "--rm"}, {args: "--rm=false", refuse: "--rm=false is not there"}},
	"sbom":            {{args: "--sbom false"}, {args: "--sbom generator=127.0.0.1:1/scanner", refuse: "connection refused"}, {args: "--sbom generator=Not:A:Name", refuse: "Not:A:Name"}},
	"secret":          {{args: "--secret id=s,src=f --target secret -o o", makes: "o/s:^file$"}, {args: "--secret id=s,type=x", refuse: "secret"}},
	"security-opt":    {{args: "--security-opt x", refuse: "--security-opt is not there"}},
	"shm-size":        {{args: "--shm-size 8m --target run"}},
	"squash":          {{args: "--squash", refuse: "--squash is not there"}},
	"ssh":             {{args: "--ssh default=nowhere", refuse: `SSH agent "default"`}},
	"tag":             {{args: "-t one -t two:2", says: "one:latest"}},
	"target":          {{args: "--target named --build-context other=sub -o o", makes: "o/g"}},
	"ulimit":          {{args: "--ulimit nofile=100:200 --target run"}, {args: "--ulimit x", refuse: "--ulimit"}},
}

// The attributes of outputs: those of BuildKit's exporters, buildx's "type" and "dest".
var buildxAttrs = map[string][]asked{
	"type":                    {{args: "-o dest=x,tar=true", refuse: "type= is missing"}},
	"dest":                    {{args: "-o type=tar,dest=t.tar", makes: "t.tar"}, {args: "-o type=image,dest=x", refuse: "dest= goes with"}, {args: `-o "type=tar","dest=a,b.tar"`, makes: "a,b.tar"}, {args: "-o type=docker", env: []string{"PATH", "/nowhere"}, refuse: "docker.*dest=image.tar"}},
	"tar":                     {{args: "-o type=oci,dest=lay,tar=false", makes: "lay/oci-layout"}, {args: "-o type=docker,dest=lay,tar=false", refuse: "tar=false goes with type=oci"}},
	"context":                 {{args: "-o type=docker,dest=d.tar,context=x", refuse: "DOCKER_CONTEXT"}},
	"name":                    {{args: "-o type=image,name=n:1 -t other", says: "n:1"}, {args: "-o type=image,name=n:1 -t other", says: "other:latest"}},
	"push":                    {{args: "-o type=image,push=true", refuse: "needs a name"}, {args: "-o type=image,push=maybe", refuse: `push="maybe"`}},
	"push-by-digest":          {{args: "-o type=image,name=127.0.0.1:1/x,push-by-digest=true,push=true", refuse: "connection refused"}},
	"registry.insecure":       {{args: "-o type=image,name=127.0.0.1:1/x,push=true,registry.insecure=true", refuse: "connection refused"}},
	"unpack":                  {{args: "-o type=image,unpack=false"}, {args: "-o type=image,unpack=true"}},
	"dangling-name-prefix":    {{args: "-o type=image,dangling-name-prefix=left", says: "left@sha256"}},
	"danging-name-empty-only": {{args: "-o type=image,dangling-name-prefix=left,danging-name-empty-only=true -t x"}},
	"name-canonical":          {{args: "-o type=image,name-canonical=true -t x", says: "x@sha256"}},
	"store":                   {{args: "-o type=image,store=false -t x", refuse: "store=false without push=true writes nothing: say type=cacheonly"}},
	"oci-mediatypes":          {{args: "-o type=oci,oci-mediatypes=false,dest=mt,tar=false", makes: "mt/index.json:docker.distribution.manifest"}},
	"oci-artifact":            {{args: "-o type=image,oci-artifact=false"}, {args: "-o type=image,oci-artifact=x", refuse: "oci-artifact"}},
	"attestation-inline":      {{args: "-o type=oci,attestation-inline=true,dest=ai.tar", makes: "ai.tar"}},
	"prefer-nondist-layers":   {{args: "-o type=image,prefer-nondist-layers=true"}, {args: "-o type=image,prefer-nondist-layers=x", refuse: "prefer-nondist-layers"}},
	"source-date-epoch":       {{args: "-o type=oci,source-date-epoch=1,dest=e.tar", makes: "e.tar"}, {args: "-o type=oci,source-date-epoch=x", refuse: "source-date-epoch"}},
	"compression":             {{args: "-o type=oci,compression=zstd,dest=z.tar", makes: "z.tar"}, {args: "-o type=oci,compression=estargz", refuse: "estargz is not supported"}},
	"force-compression":       {{args: "-o type=oci,force-compression=true,dest=z.tar", makes: "z.tar"}},
	"compression-level":       {{args: "-o type=oci,compression-level=1,dest=z.tar", makes: "z.tar"}, {args: "-o type=oci,compression-level=99", refuse: "compression-level"}},
	"rewrite-timestamp":       {{args: "-o type=oci,rewrite-timestamp=true,dest=z.tar", makes: "z.tar"}},
	"attestation-prefix":      {{args: "-o type=local,dest=ap,attestation-prefix=x- --provenance true", makes: "ap/x-provenance.json"}, {args: "-o type=local,dest=o,attestation-prefix=a/b", refuse: "no slash"}},
	"platform-split":          {{args: "-o type=local,dest=p,platform-split=false --build-arg BUILDKIT_MULTI_PLATFORM=1", makes: "p/f"}},
	"mode":                    {{args: "-o type=local,dest=o,mode=delete", makes: "o/f"}, {args: "-o type=local,dest=..,mode=delete", refuse: "--allow buildx.local.delete"}, {args: "-o type=local,dest=o,mode=x", refuse: "mode="}},
	"prefer-image-digest":     {{args: "-o type=image,prefer-image-digest=true", refuse: `unknown attribute "prefer-image-digest"`}},
	"buildinfo":               {{args: "-o type=image,buildinfo=true", refuse: `unknown attribute "buildinfo"`}},
}

// What build arguments and the environment ask the builder for.
var buildxOther = map[string][]asked{
	"BUILDKIT_CACHE_MOUNT_NS":             {{args: "--build-arg BUILDKIT_CACHE_MOUNT_NS=ns --target run"}},
	"BUILDKIT_CONTEXT_KEEP_GIT_DIR":       {{args: "--build-arg BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"}},
	"BUILDKIT_DOCKERFILE_CHECK":           {{args: "--build-arg BUILDKIT_DOCKERFILE_CHECK=error=true -f warned", refuse: "lint violation"}},
	"BUILDKIT_INLINE_BUILDINFO_ATTRS":     {{args: "--build-arg BUILDKIT_INLINE_BUILDINFO_ATTRS=1", refuse: "BUILDKIT_INLINE_BUILDINFO_ATTRS=1: build info"}},
	"BUILDKIT_INLINE_CACHE":               {{args: "--build-arg BUILDKIT_INLINE_CACHE=1 -t inlined", says: "preparing layers for inline cache"}, {args: "--build-arg BUILDKIT_INLINE_CACHE=0"}},
	"BUILDKIT_MULTI_PLATFORM":             {{args: "--build-arg BUILDKIT_MULTI_PLATFORM=1 -o mp", makes: "mp/linux_amd64/f"}},
	"BUILDKIT_SANDBOX_HOSTNAME":           {{args: "--build-arg BUILDKIT_SANDBOX_HOSTNAME=boxed --target hosts -o o", makes: "o/name:^boxed$"}},
	"BUILDKIT_SYNTAX":                     {{args: "--build-arg BUILDKIT_SYNTAX=example.org/other", refuse: "example.org/other"}},
	"SOURCE_DATE_EPOCH":                   {{args: "-o o", env: []string{"SOURCE_DATE_EPOCH", "1"}, makes: "o/f"}, {args: "-t x", env: []string{"SOURCE_DATE_EPOCH", "x"}, refuse: "SOURCE_DATE_EPOCH|epoch"}},
	"BUILDKIT_PROGRESS":                   {{env: []string{"BUILDKIT_PROGRESS", "quiet"}, says: "^$"}},
	"BUILDX_GIT_LABELS":                   {{env: []string{"BUILDX_GIT_LABELS", "full"}, refuse: "BUILDX_GIT_LABELS=full in the environment"}, {env: []string{"BUILDX_GIT_LABELS", "0"}}},
	"BUILDX_METADATA_PROVENANCE":          {{args: "--metadata-file m", env: []string{"BUILDX_METADATA_PROVENANCE", "max"}, refuse: "BUILDX_METADATA_PROVENANCE=max"}, {args: "--metadata-file m", env: []string{"BUILDX_METADATA_PROVENANCE", "disabled"}}},
	"BUILDX_METADATA_WARNINGS":            {{args: "--metadata-file w -f warned", env: []string{"BUILDX_METADATA_WARNINGS", "1"}, makes: `w:"buildx.build.warnings": \[`}},
	"BUILDX_NO_DEFAULT_ATTESTATIONS":      {{env: []string{"BUILDX_NO_DEFAULT_ATTESTATIONS", "1"}}},
	"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": {{env: []string{"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "p.json"}, refuse: "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY=p.json in the environment: source policies"}},
}

// own are flags that docker buildx build does not have.
var own = []string{
	"credential-spec", "detach", "stream", // of docker build, before BuildKit
	"count-times", "explain", "fail-on-run", "verify", // Tenon's
}

// TestBuildx: all that docker buildx build can be asked for works, or is refused by
// name with the way out. Nothing is ignored.
func TestBuildx(t *testing.T) {
	testenv.Root(t)
	base, _ := scriptBase(t, testenv.Tool(t, "busybox"))
	work := t.TempDir()
	for name, text := range map[string]string{
		"f": "file\n", "sub/g": "g\n",
		"Dockerfile": "FROM base AS run\nRUN true\n" +
			"FROM base AS b\nRUN mkdir /o; cp /etc/hosts /o/hosts; hostname > /o/name\nFROM scratch AS hosts\nCOPY --from=b /o /\n" +
			"FROM base AS a\nARG A\nRUN echo $A > /arg\nFROM scratch AS arg\nCOPY --from=a /arg /\n" +
			"FROM base AS s\nRUN --mount=type=secret,id=s cp /run/secrets/s /s\nFROM scratch AS secret\nCOPY --from=s /s /\n" +
			"FROM scratch AS named\nCOPY --from=other g /\n" +
			"FROM scratch AS plain\nCOPY f /\n",
		"warned": "FROM scratch as plain\nCOPY f /\n",
		"clean":  "FROM scratch AS plain\nCOPY f /\n",
		"ruled":  "FROM scratch\nCOPY f /\n", "ruled.rego": "package docker\n",
	} {
		path := filepath.Join(work, name)
		scriptOK(t, os.MkdirAll(filepath.Dir(path), 0o755))
		scriptOK(t, os.WriteFile(path, []byte(text), 0o644))
	}
	t.Chdir(work)
	root := t.TempDir()
	for _, part := range []map[string][]asked{buildxFlags, buildxAttrs, buildxOther} {
		for _, name := range slices.Sorted(maps.Keys(part)) {
			for _, a := range part[name] {
				t.Run(name+" "+a.args, func(t *testing.T) { a.try(t, root, "base=oci-layout://"+base+":base") })
			}
		}
	}
	fs := pflag.NewFlagSet("build", pflag.ContinueOnError)
	(&buildFlags{}).register(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if buildxFlags[f.Name] == nil && !slices.Contains(own, f.Name) {
			t.Errorf("--%s is not in the table", f.Name)
		}
	})
	for name := range buildxFlags {
		if fs.Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
}

func (a asked) try(t *testing.T, root, base string) {
	var said bytes.Buffer
	for i := 0; i+1 < len(a.env); i += 2 {
		t.Setenv(a.env[i], a.env[i+1])
	}
	path, pattern, _ := strings.Cut(a.makes, ":")
	if path != "" {
		scriptOK(t, os.RemoveAll(path))
	}
	c := &cli{in: strings.NewReader(""), out: &said, err: &said, env: os.LookupEnv}
	args := append([]string{"--root", root, "build", "--build-context", base}, strings.Fields(a.args)...)
	for i, arg := range args { // as a shell would
		args[i] = strings.ReplaceAll(arg, `"type=tar","dest=a,b.tar"`, `type=tar,"dest=a,b.tar"`)
	}
	code := c.main(t.Context(), append(args, "."))
	switch {
	case a.refuse == "" && code != 0:
		t.Fatalf("exit code %d:\n%s", code, &said)
	case a.refuse != "" && code == 0:
		t.Fatalf("it is not refused:\n%s", &said)
	case a.refuse != "" && !regexp.MustCompile("ERROR: .*("+a.refuse+")").Match(said.Bytes()):
		t.Fatalf("it should be refused with %q:\n%s", a.refuse, &said)
	}
	if a.says != "" && !regexp.MustCompile(a.says).Match(said.Bytes()) {
		t.Errorf("it should say %q:\n%s", a.says, &said)
	}
	if path == "" {
		return
	}
	dt, err := os.ReadFile(path)
	if fi, e := os.Stat(path); e == nil && fi.IsDir() {
		err = nil
	}
	scriptOK(t, err)
	if !regexp.MustCompile("(?m)" + pattern).Match(dt) {
		t.Errorf("%s should have %q:\n%s", path, pattern, dt)
	}
}
