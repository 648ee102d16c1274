// Package rows has the containers of the solver: lists of numbered rows, indexes that
// find things by hashes, and room for bytes. All of them grow by pieces of a bounded
// size, and never move what is in them, so that no call takes long.
package rows

const (
	// ChunkRows is how many rows a column allocates together.
	ChunkRows = 1 << chunkBits
	chunkBits = 10
	// firstRows is the length of the first chunk at first.
	firstRows = 16
)

// Column is a list of rows by number. Row 0 is never used: 0 stands for none. Rows keep
// their places, except those of the first chunk while it is grown.
type Column[T any] struct {
	chunks [][]T
	// end is one more than the highest number there ever was.
	end uint32
	// used counts the rows in use; free are the others.
	used uint32
	free []uint32
}

// Len is the number of rows in use.
func (c *Column[T]) Len() int { return int(c.used) }

// End is one more than the highest number of a row.
func (c *Column[T]) End() uint32 { return max(1, c.end) }

// At returns a row.
func (c *Column[T]) At(row uint32) *T { return &c.chunks[row>>chunkBits][row&(ChunkRows-1)] }

// Add returns an empty row and its number. With reuse it may be one that was removed.
func (c *Column[T]) Add(reuse bool) (uint32, *T) {
	c.used++
	if last := len(c.free) - 1; last >= 0 && reuse {
		row := c.free[last]
		c.free = c.free[:last]
		return row, c.At(row)
	}
	row := c.End()
	c.end = row + 1
	k, at := int(row>>chunkBits), int(row&(ChunkRows-1))
	if k == len(c.chunks) {
		size := ChunkRows
		if k == 0 {
			size = firstRows
		}
		c.chunks = append(c.chunks, make([]T, size))
	}
	if at >= len(c.chunks[k]) {
		c.chunks[k] = append(c.chunks[k], make([]T, len(c.chunks[k]))...)
	}
	return row, &c.chunks[k][at]
}

// Remove empties a row. With reset the column gives its memory back after the last.
func (c *Column[T]) Remove(row uint32, reset bool) {
	var empty T
	*c.At(row) = empty
	c.free = append(c.free, row)
	if c.used--; c.used == 0 && reset {
		*c = Column[T]{}
	}
}
