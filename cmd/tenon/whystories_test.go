package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// whyStory is a Dockerfile that is built twice, with something in between.
type whyStory struct {
	name, dockerfile string
	first, second    []string // arguments of the builds
	between          func(b *whyBench, at func(string) string)
	want             string
}

// edited is an edit between the builds.
func edited(edit func(func(string) string)) func(*whyBench, func(string) string) {
	return func(_ *whyBench, at func(string) string) { edit(at) }
}

const (
	chainFile = `FROM base AS one
COPY src/a /a
FROM base AS two
COPY --from=one /a /b
RUN cat /b > /c
FROM base
COPY --from=two /c /d
RUN cat /d > /e
`
	copied  = " --follow --contents --parents --wildcard --empty"
	chained = "COPY --from=one /a /b; RUN cat /b > /c; COPY --from=two /c /d; RUN cat /d > /e"

	randomFile = `FROM base AS random
RUN cat /proc/sys/kernel/random/uuid > /id
FROM base
COPY --from=random /id /id
RUN cat /id > /copy
`
	secretFile  = "FROM base\nRUN --mount=type=secret,id=s,env=S true\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null\n"
	cachedFile  = "FROM base\nRUN --mount=type=cache,id=one,target=/c true\n"
	networkFile = "FROM base\nRUN --security=sandbox true > /a\nRUN true > /b\n"
	labelFile   = "FROM base\nLABEL a=1\nEXPOSE 80\nRUN true > /a\nCMD [\"true\"]\n"
	plainFile   = "FROM base\nRUN true > /a\nCOPY src/a /b\n"
	heredocFile = "FROM base\nRUN <<E\ntrue > /a\ntrue > /b\nE\nCOPY --from=base /etc/passwd /p\n"
	boundFile   = "FROM base AS one\nRUN echo 1 > /x\nFROM base AS two\nRUN echo 2 > /x\nFROM base\nRUN --mount=type=bind,from=one,target=/m cat /m/x > /y\n"
)

var whyStories = []whyStory{
	{name: "evicted", dockerfile: chainFile, between: func(b *whyBench, _ func(string) string) { b.run("prune", "--all", "--force") },
		want: "evicted tenon --root ROOT prune --all --force: COPY src/a /a; " + chained},
	{name: "evicted by a rule", dockerfile: plainFile, between: func(b *whyBench, at func(string) string) {
		b.run("--config", at("gc.toml"), "build", "-q", "--build-context", "base=oci-layout://"+b.base+":base", "--target", "none", at("more"))
	}, want: "evicted rule 1 of [gc] (above 1B): RUN true > /a; COPY src/a /b"},
	{name: "its layer is gone from the disk", dockerfile: plainFile, between: func(b *whyBench, _ func(string) string) { b.losesTrees() },
		want: "gone: RUN true > /a; COPY src/a /b"},
	{name: "a tag that moved", dockerfile: plainFile, between: func(b *whyBench, _ func(string) string) { b.movesTag() },
		want: "env OTHER +yes: RUN true > /a -> COPY src/a /b\nimage docker.io/library/base: RUN true > /a -> COPY src/a /b"},
	{name: "another platform", dockerfile: plainFile, second: []string{"--platform", "linux/arm64"},
		want: "setting platform linux/amd64 => linux/arm64: RUN true > /a"},
	{name: "two platforms after one", dockerfile: plainFile, second: []string{"--platform", "linux/amd64,linux/arm64", "-o", "type=cacheonly"},
		want: "setting platform linux/amd64 => linux/arm64: RUN true > /a"},
	{name: "a step that is not deterministic", dockerfile: randomFile, first: []string{"--no-cache-filter", "random"}, second: []string{"--no-cache-filter", "random"},
		between: func(b *whyBench, at func(string) string) { b.build(at("."), "--no-cache-filter", "random") }, want: "no-cache --no-cache-filter=random: RUN cat /proc/sys/kernel/random/uuid > /id -> COPY --from=random /id /id; RUN cat /id > /copy\nnot-deterministic:  -> COPY --from=random /id /id; RUN cat /id > /copy"},
	{name: "a secret with another value", dockerfile: secretFile, first: []string{"--secret", "id=s,src=SECRET1"}, second: []string{"--secret", "id=s,src=SECRET2"}, want: ""},
	{name: "a mount that has a name now", dockerfile: secretFile, first: []string{"--secret", "id=s,src=SECRET1"}, second: []string{"--secret", "id=s,src=SECRET1"},
		between: edited(edit("Dockerfile", "id=s,env=S", "id=s,env=T")), want: "setting mount $T +secret s, optional: RUN --mount=type=secret,id=s,env=T true\nsetting mount $S -secret s, optional: RUN --mount=type=secret,id=s,env=T true"},
	{name: "another cache mount", dockerfile: cachedFile, between: edited(edit("Dockerfile", "id=one", "id=two")), want: ""},
	{name: "a cache mount is shared otherwise", dockerfile: cachedFile, between: edited(edit("Dockerfile", "id=one", "id=one,sharing=locked")), want: ""},
	{name: "a mount of another stage", dockerfile: boundFile, between: edited(edit("Dockerfile", "from=one", "from=two")), want: "first: RUN echo 2 > /x -> RUN --mount=type=bind,from=two,target=/m cat /m/x > /y"},
	{name: "what a mounted stage has", dockerfile: boundFile, between: edited(edit("Dockerfile", "echo 1", "echo 3")), want: "command echo 1 > /x => echo 3 > /x: RUN echo 3 > /x -> RUN --mount=type=bind,from=one,target=/m cat /m/x > /y"},
	{name: "what a step may do", dockerfile: networkFile, second: []string{"--allow", "security.insecure"},
		between: edited(edit("Dockerfile", "--security=sandbox", "--security=insecure")), want: "setting security +insecure: RUN --security=insecure true > /a"},
	{name: "a network of one step", dockerfile: networkFile, between: edited(edit("Dockerfile", "RUN true > /b", "RUN --network=none true > /b")), want: "setting network +none: RUN --network=none true > /b"},
	{name: "a network of all steps", dockerfile: networkFile, second: []string{"--network", "none"}, want: "setting network +none: RUN --security=sandbox true > /a; RUN true > /b"},
	{name: "a host", dockerfile: networkFile, second: []string{"--add-host", "h:127.0.0.1"}, want: "setting host h +added: RUN --security=sandbox true > /a; RUN true > /b"},
	{name: "labels and the like", dockerfile: labelFile, between: edited(edit("Dockerfile", "a=1\nEXPOSE 80", "a=2\nEXPOSE 81")), want: ""},
	{name: "blanks and comments", dockerfile: labelFile, between: edited(edit("Dockerfile", "RUN true > /a", "# a\n\n  RUN   true > /a")), want: ""},
	{name: "a shell", dockerfile: labelFile, between: edited(edit("Dockerfile", "RUN", "SHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nRUN")), want: "command true > /a => /bin/busybox sh -c true > /a: RUN true > /a"},
	{name: "a line of a heredoc", dockerfile: heredocFile, between: edited(edit("Dockerfile", "true > /b", "true > /c")), want: "command true > /a\ntrue > /b\n => true > /a\ntrue > /c\n: RUN <<E (true > /a...) -> COPY --from=base /etc/passwd /p"},
	{name: "an owner in the context", dockerfile: plainFile, between: edited(func(at func(string) string) { must(os.Chown(at("src/a"), 1000, 1000)) }), want: ""},
	{name: "an owner of a COPY", dockerfile: plainFile, between: edited(edit("Dockerfile", "COPY src/a", "COPY --chown=1000 src/a")), want: "command 1 copy /src/a /b" + copied + " => copy /src/a /b --chown=1000:0" + copied + ": COPY --chown=1000 src/a /b"},
	{name: "a chain of stages", dockerfile: chainFile, between: edited(put("src/a", "changed")), want: "files context, content src/a: COPY src/a /a -> " + chained},
	{name: "a chain that writes the same", dockerfile: chainFile, between: edited(edit("Dockerfile", "RUN cat /b", "RUN echo; cat /b")), want: "command cat /b > /c => echo; cat /b > /c: RUN echo; cat /b > /c"},
	{name: "three causes", dockerfile: chainFile, between: edited(both(put("src/a", "3"), both(edit("Dockerfile", "cat /b", "cat  /b /b"), edit("Dockerfile", "cat /d", "cat /d /d")))), want: "files context, content src/a: COPY src/a /a -> COPY --from=one /a /b; RUN cat /b /b > /c; COPY --from=two /c /d; RUN cat /d /d > /e\n" +
		"command cat /b > /c => cat  /b /b > /c: RUN cat /b /b > /c -> COPY --from=two /c /d; RUN cat /d /d > /e\n" +
		"command cat /d > /e => cat /d /d > /e: RUN cat /d /d > /e"},
	{name: "a cache that is not there", dockerfile: plainFile, second: []string{"--cache-from", "type=local,src=nowhere"},
		between: edited(edit("Dockerfile", "RUN true", "RUN  true; true")), want: "command true > /a => true; true > /a: RUN true; true > /a\nnot read: type=local,src=DIR/nowhere"},
	{name: "a cache that does not have it", dockerfile: plainFile, first: []string{"--cache-to", "type=local,dest=CACHE"}, second: []string{"--cache-from", "type=local,src=CACHE"},
		between: edited(edit("Dockerfile", "RUN true", "RUN  true; true; true")), want: "command true > /a => true; true; true > /a: RUN true; true; true > /a"},
	{name: "it failed before", dockerfile: plainFile + "RUN --mount=type=secret,id=s,required=true true\n", first: []string{"--secret", "id=s,src=SECRET1"}, second: []string{"--secret", "id=s,src=SECRET1"},
		between: func(b *whyBench, at func(string) string) {
			edit("Dockerfile", "required=true true", "required=true echo")(at)
			b.fails(at("."))
		}, want: "failed-before: RUN --mount=type=secret,id=s,required=true echo"},
	{name: "a COPY of something else of a stage", dockerfile: boundFile + "COPY --from=one /x /z\n", between: edited(edit("Dockerfile", "one /x /z", "one /etc/passwd /z")), want: "command 1 copy /x /z" + copied + " => copy /etc/passwd /z" + copied + ": COPY --from=one /etc/passwd /z"},
	{name: "a mount of something else of a stage", dockerfile: strings.Replace(boundFile, "cat /m/x", "ls /m", 1), between: edited(edit("Dockerfile", "from=one,", "from=one,source=/etc,")), want: "setting mount /m type=bind,input=2,readonly => type=bind,input=2,source=/etc,readonly: RUN --mount=type=bind,from=one,source=/etc,target=/m ls /m > /y"},
	{name: "a mount of something else of the context", dockerfile: "FROM base\nRUN --mount=type=bind,source=src,target=/m true > /y\n", between: edited(edit("Dockerfile", "source=src", "source=more")), want: "setting mount /m type=bind,input=2,source=/src,readonly => type=bind,input=2,source=/more,readonly: RUN --mount=type=bind,source=more,target=/m true > /y\nfiles context, added more: RUN --mount=type=bind,source=more,target=/m true > /y"},
	{name: "a cache mount beside another command", dockerfile: cachedFile, between: edited(edit("Dockerfile", "id=one,target=/c true", "id=two,target=/c echo")), want: "command true => echo: RUN --mount=type=cache,id=two,target=/c echo"},
	{name: "as it was two builds ago", dockerfile: plainFile, between: func(b *whyBench, at func(string) string) {
		edit("Dockerfile", "RUN true", "RUN  echo")(at)
		b.build(at("."))
		edit("Dockerfile", "RUN  echo", "RUN true")(at)
	}, want: ""},
}

// fails builds what cannot be built.
func (b *whyBench) fails(dir string) {
	c := &cli{in: strings.NewReader(""), out: io.Discard, err: io.Discard, env: func(string) (string, bool) { return "", false }, umask: 0o022}
	if c.main(b.Context(), []string{"--root", b.root, "build", "-q", "--build-context", "base=oci-layout://" + b.base + ":base", dir}) == 0 {
		b.Fatal("it was built")
	}
}

// losesTrees removes all trees from the disk, behind the store's back.
func (b *whyBench) losesTrees() {
	found, err := filepath.Glob(filepath.Join(b.root, "overlayfs", "snapshots", "*"))
	check.OK(b, err)
	for _, dir := range found {
		check.OK(b, os.RemoveAll(dir))
	}
}

// movesTag has the tag of the base image name the other one, until the story ends.
func (b *whyBench) movesTag() {
	index := filepath.Join(b.base, "index.json")
	dt, err := os.ReadFile(index)
	check.OK(b, err)
	b.Cleanup(func() { must(os.WriteFile(index, dt, 0o600)) })
	swapped := strings.NewReplacer(`"base"`, `"other"`, `"other"`, `"base"`).Replace(string(dt))
	check.OK(b, os.WriteFile(index, []byte(swapped), 0o600))
}

// What happens between two builds is told as the cause of just those steps that run in the second.
func TestWhyStories(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	root, base := t.TempDir(), newBases(t, testenv.Tool(t, "busybox")).dir
	for i, c := range whyStories {
		t.Run(c.name, func(t *testing.T) {
			b := &whyBench{T: t, root: root, base: base}
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			// What an earlier story has built is not in the cache for this one.
			dockerfile := regexp.MustCompile(`(?m)^FROM base.*$`).ReplaceAllString(c.dockerfile, fmt.Sprintf("$0\nENV STORY=%d", i))
			for name, text := range map[string]string{"Dockerfile": dockerfile, "src/a": fmt.Sprintln(i), "more/Dockerfile": "FROM scratch AS none\n", "gc.toml": "[[gc.gcpolicy]]\nall = true\nmaxUsedSpace = 1\n"} {
				put(name, text)(at)
			}
			secrets := t.TempDir()
			must(os.WriteFile(filepath.Join(secrets, "1"), []byte("one"), 0o600))
			must(os.WriteFile(filepath.Join(secrets, "2"), []byte("two"), 0o600))
			args := func(list []string) []string {
				list = slices.Clone(list)
				for i := range list {
					list[i] = strings.NewReplacer("SECRET", secrets+"/", "CACHE", secrets+"/cache", "nowhere", secrets+"/nowhere").Replace(list[i])
				}
				return list
			}
			b.build(dir, args(c.first)...)
			if c.between != nil {
				c.between(b, at)
			}
			b.build(dir, args(c.second)...)
			var r why.Report
			check.OK(t, json.Unmarshal([]byte(b.run("why", "--json")), &r))
			got := strings.NewReplacer(root, "ROOT", secrets, "DIR").Replace(shortly(&r))
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
