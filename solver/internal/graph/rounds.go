package graph

// Rounds lets several lines of things be worked off in turn: a few of one, then a few of
// the next, so that whoever has little to do does not wait for who has much. The newest of
// a line comes first: what it is about is at hand. The zero value is empty.
type Rounds[T any] struct {
	lines  [][]T
	active []int // lines that have something, in the order of their turns
	at     int   // in active
	taken  int   // of the line at hand, in this turn
}

// aFew is how many are taken of a line in its turn.
const aFew = 16

// maxIdle is how much room a line keeps that is empty.
const maxIdle = 4096

// Add puts something into a line.
func (r *Rounds[T]) Add(line int, x T) {
	for line >= len(r.lines) {
		r.lines = append(r.lines, nil)
	}
	if len(r.lines[line]) == 0 {
		r.active = append(r.active, line)
	}
	r.lines[line] = append(r.lines[line], x)
}

// Empty reports whether there is nothing left.
func (r *Rounds[T]) Empty() bool { return len(r.active) == 0 }

// Next takes what is next. There must be something.
func (r *Rounds[T]) Next() T {
	if r.taken == aFew {
		r.at, r.taken = r.at+1, 0
	}
	if r.at >= len(r.active) {
		r.at = 0
	}
	line := &r.lines[r.active[r.at]]
	last := len(*line) - 1
	x := (*line)[last]
	clear((*line)[last:])
	*line = (*line)[:last]
	r.taken++
	if last == 0 {
		if cap(*line) > maxIdle {
			*line = nil
		}
		r.active = append(r.active[:r.at], r.active[r.at+1:]...)
		r.taken = 0
	}
	return x
}
