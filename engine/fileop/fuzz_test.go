package fileop_test

import (
	"os"
	"testing"
)

// FuzzUnpack adds any bytes to a tree that has links out of it: whatever they are, they
// end inside it, or are refused.
func FuzzUnpack(f *testing.F) {
	w := newWorld(f)
	outside := f.TempDir()
	base := w.tree(w.files("o/out", "-> "+outside, "o/up", "-> ../../../../../../../../../.."+outside))
	for _, entries := range [][]entry{
		{{"d/", ""}, {"d/f", "x"}, {"d/h", "=> d/f"}},
		{{"out/x", "x"}, {"up/x", "x"}, {"../../x", "x"}},
		{{"l", "-> " + outside}, {"l/x", "x"}, {"h", "=> " + outside + "/../x"}},
	} {
		dt := tarball(f, entries...)
		f.Add(dt)
		f.Add(compressed(f, "zstd", dt))
		f.Add(compressed(f, "gzip", dt))
	}
	held := len(w.refs)
	f.Fuzz(func(t *testing.T, dt []byte) {
		defer func(outer testing.TB) { w.t = outer }(w.t)
		w.t = t
		from := w.tree(func(dir string) {
			if err := os.WriteFile(dir+"/f", dt, 0o600); err != nil {
				t.Fatal(err)
			}
		})
		_, err := w.run(w.ctx, chain(2, cp("/f", "/o", add)), base, from)
		if files, rerr := os.ReadDir(outside); rerr != nil || len(files) != 0 {
			t.Fatalf("outside there is %v, %v (%v)", files, rerr, err)
		}
		for _, r := range w.refs[held:] {
			if err := r.Release(w.ctx); err != nil {
				t.Error(err)
			}
		}
		w.refs = w.refs[:held]
	})
}
