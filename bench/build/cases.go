package build

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Case is a family of builds: one context, built in phases.
type Case struct {
	Name string
	N    int
	// Files are the context's at first. What is said NONCE in a Dockerfile is
	// another number for each trial, which has nothing in the cache then.
	Files func(n int) map[string]string
	// Phases follow one another on what those before have left.
	Phases []Phase
	// Costs are what phases of ours take more than others do: no other builder is measured.
	Costs []Cost
}

// Cost is what a phase takes more than another one.
type Cost struct{ Phase, Than string }

// Phase is one build of a case, or several at once.
type Phase struct {
	Name   string
	Edit   func(dir string, trial int) error // before it; may be nil
	Output string                            // type of the output, if any
	// As is how ours is set up otherwise, with a root of its own; the others then have no
	// figure.
	As Setup
	// Runs are the RUN steps that should be executed; -1 where that is not the same
	// for each build. PeerRuns are those of the peer, if it should execute others.
	Runs, PeerRuns int
	AtOnce         int  // builds at the same time; 0 is one
	Command        bool // by the command, not in a loop; Runs is not seen then
	Prepare        bool // for the phases after it only: not measured
	// Empty has the builder begin with nothing. CacheFrom and CacheTo have it read and write
	// the cache of this case and trial, and Silent read one of a registry that never answers.
	Empty, CacheFrom, CacheTo, Silent bool
	// Patience is how long the phase is waited for; 0 is until it ends.
	Patience time.Duration
	// Bytes says that it is measured how many are downloaded from the registry, and
	// extracted from layers of the cache.
	Bytes bool
}

// head is the stage that everything stands on. It is in the cache before anything
// is measured.
const head = `FROM scratch AS shell
COPY --from=busybox busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
`

// Cases are what is measured.
func Cases(short bool) []Case {
	return slices.Concat(localCases(short), whyCases(short), travelling(short))
}

// travelling are the cases of caches that travel.
func travelling(short bool) []Case {
	if short {
		return cacheCases(20, 3, 2*time.Second)
	}
	return cacheCases(200, 20, 20*time.Second)
}

func localCases(short bool) []Case {
	steps, stages, files, copied, exported, builds := 20, 8, 20_000, 5_000, 2_000, 20
	if short {
		steps, stages, files, copied, exported = 10, 4, 2_000, 1_000, 500
	}
	return []Case{
		{Name: "run-chain", N: steps, Files: chain, Phases: []Phase{
			{Name: "cold", Runs: steps}, {Name: "cached"}, {Name: "command-cached", Command: true},
		}},
		{Name: "stages", N: stages, Files: parallel, Phases: []Phase{
			{Name: "cold", Runs: stages + 1}, {Name: "cached"},
			{Name: "one-file", Edit: edit("in/1"), Runs: 2},
		}},
		{Name: "context", N: files, Files: large, Phases: []Phase{
			{Name: "cold", Runs: 1}, {Name: "unchanged"},
			{Name: "one-file", Edit: edit("d7/f7"), Runs: 1},
			{Name: "command-unchanged", Command: true},
		}},
		{Name: "copy", N: copied, Files: many, Phases: []Phase{
			{Name: "prepare", Runs: 1, Prepare: true}, {Name: "cold", Edit: copies, Runs: 0},
		}},
		{Name: "export", N: exported, Files: large, Phases: []Phase{
			{Name: "prepare", Runs: 1, Prepare: true},
			{Name: "tar", Output: "tar"}, {Name: "local", Output: "local"},
			{Name: "image", Output: "image"}, {Name: "image-again", Output: "image"}, {Name: "oci-again", Output: "oci"},
		}},
		{Name: "at-once", N: builds, Files: func(int) map[string]string { return chain(5) }, Phases: []Phase{
			{Name: "cold", AtOnce: builds, Runs: -1}, {Name: "cached", AtOnce: builds, Runs: 0},
		}},
	}
}

// chain is a step over the other, each the least there is.
func chain(n int) map[string]string {
	var b strings.Builder
	b.WriteString(head + "FROM shell\nARG TRIAL=NONCE\n")
	for range n {
		b.WriteString("RUN true\n")
	}
	return map[string]string{"Dockerfile": b.String()}
}

// parallel are stages beside each other, each with some work, and one that copies
// from all.
func parallel(n int) map[string]string {
	files := map[string]string{}
	var stages, last strings.Builder
	for i := range n {
		name := fmt.Sprint(i)
		files["in/"+name] = "file " + name + "\n"
		fmt.Fprintf(&stages, "FROM shell AS s%s\nARG TRIAL=NONCE\nCOPY in/%s /in\nRUN head -c 4000000 /dev/zero | cat - /in | sha256sum > /out\n", name, name)
		fmt.Fprintf(&last, "COPY --from=s%s /out /%s\n", name, name)
	}
	files["Dockerfile"] = head + stages.String() + "FROM shell\nARG TRIAL=NONCE\n" + last.String() + "RUN cat /? > /all\n"
	return files
}

// large is a context of n files of a KB, all of which are copied. It has nothing
// in common with that of another trial.
func large(n int) map[string]string {
	files := map[string]string{"Dockerfile": head + "FROM shell\nARG TRIAL=NONCE\nCOPY . /src\nRUN test -e /src/d0/f0\n"}
	for i := range n {
		files[fmt.Sprintf("d%d/f%d", i%200, i)] = strings.Repeat(fmt.Sprintf("file %d\n", i), 200)[:1000]
	}
	return files
}

// many is a stage that makes n files, and one that copies them.
func many(n int) map[string]string {
	return map[string]string{"Dockerfile": head + fmt.Sprintf(
		"FROM shell AS made\nARG TRIAL=NONCE\nRUN mkdir /made && cd /made && for i in $(seq %d); do echo $i > $i; done\n", n)}
}

// copies adds the stage that copies.
func copies(dir string, _ int) error {
	return changeFile(dir, "Dockerfile", func(text string) string { return text + "FROM shell\nCOPY --from=made /made /copied\n" })
}

// changeFile writes a file anew.
func changeFile(dir, name string, change func(string) string) error {
	path := filepath.Join(dir, name)
	dt, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(change(string(dt))), 0o644)
}

// edit changes a file.
func edit(name string) func(string, int) error {
	return func(dir string, trial int) error {
		return os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "changed in trial %d\n", trial), 0o644)
	}
}
