package graph

// Rows are kept in segments, so that they never move, and are named by a number: the
// segment's and the place in it.
const (
	segmentBits = 8
	segmentRows = 1 << segmentBits
)

// Column is one column of a table: a T for each row. Columns of one table have the
// same segments. The zero value belongs to no table; see Graph.VertexColumn.
type Column[T any] struct {
	// segments reach from their first row to the end of what was allocated with them:
	// a run of rows may be longer than a segment.
	segments [][]T
}

// at returns the T of a row.
func (c *Column[T]) at(row uint32) *T {
	return &c.segments[row>>segmentBits][row&(segmentRows-1)]
}

// run returns those of n rows that were allocated together.
func (c *Column[T]) run(row, n uint32) []T {
	if n == 0 {
		return nil
	}
	return c.segments[row>>segmentBits][row&(segmentRows-1):][:n:n]
}

func (c *Column[T]) grow(segment, count uint32) {
	rows := make([]T, int(count)*segmentRows)
	for i := range count {
		if s := int(segment + i); s < len(c.segments) {
			c.segments[s] = rows[i*segmentRows:]
		} else {
			c.segments = append(c.segments, rows[i*segmentRows:])
		}
	}
}

func (c *Column[T]) drop(segment, count uint32) { clear(c.segments[segment : segment+count]) }

func (c *Column[T]) wipe(segment, used uint32) { clear(c.segments[segment][:used]) }

// column is a Column of any type.
type column interface {
	// grow allocates count segments, drop gives them up, wipe clears the rows that
	// were used.
	grow(segment, count uint32)
	drop(segment, count uint32)
	wipe(segment, used uint32)
}

// table hands out rows of its columns. A row is used once: what was freed comes back
// with its segment, when all rows of that are free. Rows that are made together mostly
// live and die together.
type table struct {
	columns []column
	// live counts the rows in use, by segment. The further segments of a long run
	// count none.
	live []uint32
	// current is the segment that rows are taken from; used are those taken of it.
	current, used uint32
	// free are segments that were dropped.
	free []uint32
	rows int // in use
}

// add makes a column part of the table, before its first row.
func (t *table) add(c column) { t.columns = append(t.columns, c) }

// alloc returns the first of n rows in a run. Row 0 is never handed out: 0 stands for
// none.
func (t *table) alloc(n uint32) uint32 {
	t.rows += int(n)
	if n > segmentRows {
		return t.long(n)
	}
	if len(t.live) == 0 || t.used+n > segmentRows {
		t.next()
	}
	row := t.current<<segmentBits | t.used
	t.used += n
	t.live[t.current] += n
	return row
}

// next begins another segment.
func (t *table) next() {
	if last := len(t.free) - 1; last >= 0 {
		t.current, t.free = t.free[last], t.free[:last]
	} else {
		t.current = uint32(len(t.live))
		t.live = append(t.live, 0)
	}
	t.used = 0
	if t.current == 0 {
		t.used = 1
	}
	for _, c := range t.columns {
		c.grow(t.current, 1)
	}
}

// long allocates a run that does not fit into a segment.
func (t *table) long(n uint32) uint32 {
	if len(t.live) == 0 {
		t.next()
	}
	count := segmentsOf(n)
	first := uint32(len(t.live))
	t.live = append(t.live, make([]uint32, count)...)
	t.live[first] = n
	for _, c := range t.columns {
		c.grow(first, count)
	}
	return first << segmentBits
}

func segmentsOf(n uint32) uint32 { return (n + segmentRows - 1) / segmentRows }

// release gives a run of n rows back.
func (t *table) release(row, n uint32) {
	t.rows -= int(n)
	segment := row >> segmentBits
	if t.live[segment] -= n; t.live[segment] > 0 {
		return
	}
	if segment == t.current {
		for _, c := range t.columns {
			c.wipe(segment, t.used)
		}
		t.used = 0
		if segment == 0 {
			t.used = 1
		}
		return
	}
	count := max(1, segmentsOf(n))
	for _, c := range t.columns {
		c.drop(segment, count)
	}
	for i := range count {
		t.free = append(t.free, segment+i)
	}
}
