package confine

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// facts are enough of them to be taken for the probe's, and these.
func facts(t *testing.T, lines ...string) Facts {
	t.Helper()
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("fact %d\tsame", i))
	}
	f, err := Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A difference is found, and only one that is meant is explained.
func TestCompare(t *testing.T) {
	host, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	id, other := strings.Repeat("a1", 16), strings.Repeat("b2", 16)
	ours := facts(t, "namespace net\tnet:[1]", "status CapEff\t000001ffffffffff", "process cgroup\t0::/tenon/"+id,
		"mount /proc/kcore\ttype=tmpfs", "mount /\ttype=overlay super=rw,lowerdir=/a,upperdir=/b,workdir=/c,uuid=on")
	peer := facts(t, "namespace net\t"+host, "status CapEff\t00000000a80425fb", "process cgroup\t0::/buildkit/"+other,
		"mount /\ttype=overlay super=rw,lowerdir=/d,upperdir=/e,workdir=/f,uuid=on")
	got := map[string]bool{} // whether it is explained
	for _, d := range Compare(ours, peer) {
		got[d.Fact] = d.Why != ""
	}
	want := map[string]bool{"namespace net": true, "status CapEff": false, "mount /proc/kcore": false}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the differences are %v, not %v", got, want)
	}
	// The other way round it is not what is meant.
	for _, d := range Compare(peer, ours) {
		if d.Why != "" {
			t.Errorf("explained: %+v", d)
		}
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "no fact", "a\tb"} {
		if _, err := Parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for what the probe says", bad)
		}
	}
}
