package build

import (
	"fmt"
	"strings"
	"time"
)

// cacheCases are what is measured of caches that travel. Its numbers are of layers; those
// that are copied are of a MB each.
func cacheCases(layers, copied int, patience time.Duration) []Case {
	return []Case{
		{Name: "cache-export", N: layers, Files: layered, Phases: []Phase{
			{Name: "prepare", Runs: layers / perRun, Prepare: true},
			{Name: "first", CacheTo: true},
			{Name: "one-new", Edit: edit("last"), CacheTo: true},
			{Name: "none-new", CacheTo: true},
		}},
		{Name: "cache-import", N: layers, Files: layered, Phases: []Phase{
			{Name: "prepare", Runs: layers / perRun, CacheTo: true, Prepare: true},
			{Name: "hit", Empty: true, CacheFrom: true, Bytes: true},
			{Name: "hit-oci", Empty: true, CacheFrom: true, Output: "oci", Bytes: true},
		}},
		{Name: "cache-silent", N: 10, Files: chain, Phases: []Phase{
			{Name: "prepare", Runs: 10, Prepare: true}, {Name: "cached"},
			{Name: "cached-silent", Silent: true, Patience: patience},
		}},
		{Name: "cache-copy", N: copied, Files: parents, Phases: []Phase{
			{Name: "prepare", Runs: copied, CacheTo: true, Prepare: true},
			{Name: "link", Edit: ontop("COPY --link last /last"), Empty: true, CacheFrom: true, Output: "push", Bytes: true},
			{Name: "plain", Edit: ontop("COPY last /last"), Empty: true, CacheFrom: true, Output: "push", Bytes: true},
		}},
	}
}

// perRun is how many layers there are for each that a RUN has made.
const perRun = 10

// layered is a chain of small layers, most of them by COPY.
func layered(n int) map[string]string {
	files := map[string]string{"last": "last\n"}
	var b strings.Builder
	b.WriteString(head + "FROM shell\nARG TRIAL=NONCE\n")
	for i := range n - 1 {
		if i%perRun == 0 {
			fmt.Fprintf(&b, "RUN echo $TRIAL %d > /%s%d\n", i, cachedName, i)
			continue
		}
		name := fmt.Sprintf("in/%d", i)
		files[name] = fmt.Sprintf("layer %d\nNONCE\n", i)
		fmt.Fprintf(&b, "COPY %s /%s%d\n", name, cachedName, i)
	}
	b.WriteString("COPY last /last\n")
	files["Dockerfile"] = b.String()
	return files
}

// parents is a chain of layers of a MB that nothing can be made smaller of.
func parents(n int) map[string]string {
	var b strings.Builder
	b.WriteString(head + "FROM shell\nARG TRIAL=NONCE\n")
	for i := range n {
		fmt.Fprintf(&b, "RUN head -c 1000000 /dev/urandom > /%s%d\n", cachedName, i)
	}
	return map[string]string{"Dockerfile": b.String(), "last": "last\n"}
}

// ontop puts a line in the place of the last line that was put on top of the parents.
func ontop(line string) func(string, int) error {
	return func(dir string, _ int) error {
		return changeFile(dir, "Dockerfile", func(text string) string {
			at := strings.LastIndex(text, "RUN ")
			end := at + strings.Index(text[at:], "\n") + 1
			return text[:end] + line + "\n"
		})
	}
}
