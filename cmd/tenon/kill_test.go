package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
)

var (
	kills    = flag.Int("tenon.kills", 24, "how many commands TestKilled kills")
	killSeed = flag.Uint64("tenon.killseed", 1, "which commands, and when")
)

// A command that is killed at any instant leaves nothing behind the next command, and
// breaks nothing. The instants are events: a line that it says, or a change in the state
// folder, in $TMPDIR, or beside its outputs.
func TestKilled(t *testing.T) {
	w := newKillWorld(t)
	total := map[string]int{} // events of a command that is not killed
	for _, name := range sortedKeys(w.commands()) {
		run := w.run(name, -1)
		if run.killed { // it waits for that
			total[name] = 1
			w.run("du", -1)
		} else {
			total[name] = run.events
		}
		w.settled(name)
	}
	t.Logf("events of each command: %v", total)
	rng := rand.New(rand.NewPCG(*killSeed, 0))
	// Half of them are builds.
	names := slices.Concat(sortedKeys(total), []string{"build", "build", "build", "build", "build"})
	killed := 0
	n := *kills
	if testing.Short() {
		n = min(n, 5)
	}
	for range n {
		name := names[rng.IntN(len(names))]
		at := 1 + rng.IntN(total[name])
		if w.run(name, at).killed {
			killed++
		}
		w.inTemp(name)
		if rng.IntN(4) == 0 { // the one after it, too
			w.run("build", 1+rng.IntN(20))
		}
		next := []string{"du", "prune", "build"}[rng.IntN(3)]
		w.run(next, -1)
		what := fmt.Sprintf("%s, killed at event %d of %d, and %s", name, at, total[name], next)
		t.Log(what)
		w.settled(what)
		if t.Failed() {
			t.Fatalf("go test ./cmd/tenon -run TestKilled -tenon.killseed %d shows it again", *killSeed)
		}
	}
	if killed < n/2 {
		t.Errorf("the test is of little use: %d of %d were killed", killed, n)
	}
	w.run("build", -1)
	w.settled("the last build")
	w.emptied()
}

// killCommand is a command that may be killed.
type killCommand struct {
	args  []string
	stdin string // a file; "" for nothing
	until string // it is killed when it says this; "" for not
}

// commands are those of the next round: a build finds nothing of the earlier rounds in
// the cache. Some wait, where they take little time otherwise, until they are killed.
func (w *killWorld) commands() map[string]killCommand {
	w.round++
	build := []string{
		"build", "--build-arg", fmt.Sprint("ROUND=", w.round), "--build-arg", "SITE=" + w.site, "--secret", "id=s,src=" + w.path("secret"),
		"--cgroup-parent", w.cgroup, "--build-context", "base=oci-layout://" + w.layout + ":base",
	}
	to := []string{
		"-o", "type=image,name=app", "-o", "type=oci,dest=" + w.path("out/oci.tar"), "-o", w.path("out/dir"),
		"--iidfile", w.path("out/iid"), "--metadata-file", w.path("out/metadata"), w.path("context"),
	}
	waits := func(where string) []string {
		return slices.Concat(build, []string{"--progress", "plain", "--build-arg", "WAIT=" + where}, to)
	}
	return map[string]killCommand{
		"a step": {args: waits("run"), until: "step waits"},
		"http":   {args: waits("http")},
		"git":    {args: waits("git")},
		"build":  {args: slices.Concat(build, to)},
		"piped":  {args: slices.Concat(build, []string{"-o", "type=tar,dest=" + w.path("out/tree.tar"), "-"}), stdin: w.path("context.tar")},
		"save":   {args: []string{"images", "save", "-o", w.path("out/saved.tar"), "app"}},
		"load":   {args: []string{"images", "load", "-i", w.path("loaded.tar")}},
		"push":   {args: []string{"images", "push", w.registry}},
		"tag":    {args: []string{"images", "tag", "app", "other"}},
		"untag":  {args: []string{"images", "prune", "-f"}},
		"prune":  {args: []string{"prune", "-a", "-f"}},
		"du":     {args: []string{"du"}},
		"images": {args: []string{"images"}},
	}
}

const killDockerfile = `FROM base AS fetched
ARG ROUND
ARG SITE
ARG WAIT
ADD http://$SITE/file?round=$ROUND&wait=$WAIT /fetched
ADD http://$SITE/git/$ROUND$WAIT/r.git /repository
FROM base
ARG ROUND
ARG WAIT
COPY . /context
RUN --mount=type=cache,target=/cache --mount=type=secret,id=s --mount=type=secret,id=s,env=S --mount=type=tmpfs,target=/t \
    cp /context/big /made; cp /context/big /cache/$ROUND; for i in 1 2 3 4 5 6 7 8 9; do echo "step $i of $ROUND"; done; \
    if [ "$WAIT" = run ]; then echo step "waits"; sleep 1000 & sleep 1000; fi
RUN --mount=type=bind,from=fetched,target=/f cp -r /f/repository /copied && echo $ROUND > /round
COPY --from=fetched --link /fetched /linked/
`

// inTemp: nothing is in $TMPDIR, not even before the next command.
func (w *killWorld) inTemp(after string) {
	w.t.Helper()
	if left := w.entries("tmp"); len(left) > 0 {
		w.t.Errorf("after %s there is in $TMPDIR: %s", after, left)
	}
}

// settled checks that nothing is left of the commands so far.
func (w *killWorld) settled(after string) {
	w.t.Helper()
	var left []string
	for _, p := range w.processes() {
		left = append(left, "a process: "+p)
	}
	for _, m := range mountsBelow(w.t, w.home) {
		left = append(left, "mounted: "+m)
	}
	for _, c := range cgroupsBelow(w.t, w.cgroup) {
		left = append(left, "a cgroup: "+c)
	}
	may := []string{"dir", "iid", "metadata", "oci.tar", "saved.tar", "tree.tar"}
	for _, name := range w.entries("out") {
		if strings.HasPrefix(name, ".tenon-") {
			// It was about to take the place of another, which takes a name for an instant.
			check.OK(w.t, os.Remove(w.path("out/"+name)))
			w.t.Logf("after %s there is %s beside the outputs", after, name)
			continue
		}
		if !slices.Contains(may, name) {
			left = append(left, "beside the outputs: "+name)
		}
	}
	for _, dir := range []string{
		"root/mounts", "root/content/ingest", "root/state/runtime/names", "root/state/runtime/run", "root/state/secrets", "root/state/agents",
	} {
		for _, name := range w.entries(dir) {
			left = append(left, "in "+dir+": "+name)
		}
	}
	if len(left) > 0 {
		w.t.Errorf("after %s there is left:\n%s", after, strings.Join(left, "\n"))
	}
	w.inTemp(after)
	w.whole(after)
	said, disk := w.du(), w.onDisk()
	if d := max(said-disk, disk-said); d*50 > max(said, disk) {
		w.t.Errorf("after %s du says %d bytes, and on the disk it is %d", after, said, disk)
	}
}

// emptied removes everything that can be, and compares what is left of the state folder
// with that of one in which nothing was ever killed.
func (w *killWorld) emptied() {
	w.t.Helper()
	w.empty()
	got := w.listed()
	check.OK(w.t, os.Rename(w.path("root"), w.path("killed")))
	for _, name := range []string{"build", "load", "piped"} {
		w.run(name, -1)
	}
	w.empty()
	if want := w.listed(); !slices.Equal(got, want) {
		w.t.Errorf("what nobody needs stays after kills:\n%s\nand without any:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
