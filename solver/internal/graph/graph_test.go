package graph

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Rows of a table are distinct, zero when they are handed out, and stay where they are;
// long runs are in one piece.
func TestTable(t *testing.T) {
	var tab table
	var numbers Column[uint64]
	tab.add(&numbers)
	type run struct{ row, n uint32 }
	var runs []run
	rng := rand.New(rand.NewPCG(1, 2))
	serial := uint64(0)
	for range 20_000 {
		if len(runs) > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(len(runs))
			tab.release(runs[i].row, runs[i].n)
			runs = slices.Delete(runs, i, i+1)
			continue
		}
		n := uint32(1)
		switch rng.IntN(20) {
		case 0:
			n = 1 + rng.Uint32N(3*segmentRows)
		case 1:
			n = 1 + rng.Uint32N(20)
		}
		row := tab.alloc(n)
		serial++
		for i := range numbers.run(row, n) {
			p := numbers.at(row)
			if n > 1 {
				p = &numbers.run(row, n)[i]
			}
			if row == 0 || *p != 0 {
				t.Fatalf("row %d+%d of %d is %d", row, i, n, *p)
			}
			*p = serial
		}
		runs = append(runs, run{row, n})
		for _, r := range runs[max(0, len(runs)-50):] {
			all := numbers.run(r.row, r.n)
			if all[0] == 0 || all[0] != all[len(all)-1] {
				t.Fatalf("a run of %d begins with %d and ends with %d", r.n, all[0], all[len(all)-1])
			}
		}
	}
	for _, r := range runs {
		tab.release(r.row, r.n)
	}
	for s, rows := range numbers.segments {
		if rows != nil && uint32(s) != tab.current {
			t.Errorf("segment %d is kept", s)
		}
	}
	if tab.rows != 0 {
		t.Errorf("%d rows are left", tab.rows)
	}
}

// A line with little in it does not wait for one that is long, and the newest of a line
// comes first.
func TestRounds(t *testing.T) {
	var r Rounds[int]
	for i := range 10_000 {
		r.Add(3, i)
	}
	r.Next()
	r.Add(7, -1)
	for n := 1; ; n++ {
		if x := r.Next(); x == -1 {
			break
		}
		if n > aFew {
			t.Fatal("the short line waits")
		}
	}
	if x := r.Next(); x >= 9_999 || x < 9_999-aFew {
		t.Errorf("then came %d", x)
	}
	n := 0
	for ; !r.Empty(); n++ {
		r.Next()
	}
	if n < 9_900 {
		t.Errorf("only %d were left", n)
	}
}

// Jobs are a set, also those beyond the first 64.
func TestJobs(t *testing.T) {
	g := New(nil)
	v := g.Add(nil)
	g.Ref(v)
	model := map[int]bool{}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		job := rng.IntN(300)
		if rng.IntN(2) == 0 {
			if g.Hold(v, job) == model[job] {
				t.Fatalf("job %d: held before is %v", job, model[job])
			}
			model[job] = true
		} else {
			g.Unhold(v, job)
			delete(model, job)
		}
		if g.Holds(v, job) != model[job] || g.unheld(v) != (len(model) == 0) {
			t.Fatal("the set is another")
		}
	}
	var got []int
	for job := range g.Jobs(v) {
		got = append(got, job)
	}
	if len(got) != len(model) || !slices.IsSorted(got) {
		t.Errorf("%d jobs, not %d: %v", len(got), len(model), got)
	}
}

// counting is a Host that counts releases.
type counting struct {
	Host
	released map[Vertex]int
}

func (h *counting) Release(v Vertex) { h.released[v]++ }

// A vertex that lost its last holder, was held again for a moment, and lost it again, is
// released once. Its row may be another vertex's by then.
func TestReleasedOnce(t *testing.T) {
	h := &counting{released: map[Vertex]int{}}
	g := New(h)
	v := g.Add(nil)
	g.Hold(v, 0)
	g.Unhold(v, 0)
	g.Ref(v)
	g.Unref(v)
	g.Pin(v) // somebody still needs the row
	for g.Dying() {
		g.Reap(1)
	}
	if len(h.released) != 1 || h.released[v] != 1 {
		t.Errorf("released: %v", h.released)
	}
	g.Unpin(v)
}
