package measure

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tenonbuild/tenon/bench/graph"
)

// Metric is what a row tells, and its first word.
type Metric string

// The metrics.
const (
	// Time is in ns a vertex; with several jobs, a job and vertex.
	Time Metric = "solver"
	// Alloc and Live are in bytes a vertex.
	Alloc Metric = "alloc"
	Live  Metric = "live"
	// Peak is what a process grew by, in bytes a vertex.
	Peak Metric = "peak"
	// Goroutines is the most there were at once.
	Goroutines Metric = "goroutines"
	// Visits is how often an edge was looked at, a vertex.
	Visits Metric = "visits"
	// Disk is in bytes a vertex's record.
	Disk Metric = "disk"
	// ReopenTime is in ns a vertex's record.
	ReopenTime Metric = "reopen"
	// Scale is the ratio to the floor at a million, divided by that at 10,000.
	Scale Metric = "scale"
)

const (
	oursName  = "ours"
	peerName  = "peer"
	floorName = "floor"
)

// Columns names the solvers in the order of the table's columns.
var Columns = []string{oursName, peerName, floorName}

// Key says what a row is about.
type Key struct {
	Metric  Metric
	Shape   graph.Shape
	N       int
	Phase   Phase
	Storage Storage
}

// Row holds a figure of each solver; one that is absent was not measured.
type Row map[string]float64

// ratio divides the figure of one solver by that of another.
func (r Row) ratio(a, b string) (float64, bool) {
	x, okx := r[a]
	y, oky := r[b]
	return x / y, okx && oky && y != 0
}

// Table holds all rows, and prints each as it is set.
type Table struct {
	out  io.Writer
	rows map[Key]Row
}

// NewTable begins a table.
func NewTable(out io.Writer) *Table {
	return &Table{out: out, rows: map[Key]Row{}}
}

// Head prints what the columns are.
func (t *Table) Head() {
	fmt.Fprintln(t.out, "# solver SHAPE N PHASE STORAGE ours_ns peer_ns floor_ns ratio_peer ratio_floor")
	fmt.Fprintln(t.out, "# ns a vertex (a job and vertex, a key); ratio_peer = peer/ours, ratio_floor = ours/floor; - is not measured")
}

// Set adds a row and prints it.
func (t *Table) Set(k Key, r Row) {
	t.rows[k] = r
	fields := []string{string(k.Metric), string(k.Shape), fmt.Sprint(k.N), string(k.Phase), string(k.Storage)}
	for _, name := range Columns {
		v, ok := r[name]
		fields = append(fields, figure(v, ok))
	}
	fields = append(fields, figure(r.ratio(peerName, oursName)), figure(r.ratio(oursName, floorName)))
	fmt.Fprintln(t.out, strings.Join(fields, " "))
}

// figure prints a number with about three digits that mean something.
func figure(v float64, ok bool) string {
	switch {
	case !ok:
		return "-"
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// median of a list that is not empty.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
