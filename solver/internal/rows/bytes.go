package rows

// Strings lie in chunks of bytes. The place of one is the number of its chunk and where it
// begins there.
const (
	byteBits   = 16
	byteChunk  = 1 << byteBits
	maxChunks  = 1 << 16
	firstBytes = 1 << 10
	// spareChunks are left for what has to be added although all others are in use.
	spareChunks = 64
	// worthMoving is how many dead bytes are worth moving the living for.
	worthMoving = 1 << 20
)

// Bytes holds strings of bytes by place. What is dropped stays where it is until those
// that live are moved elsewhere: see BeginMove.
type Bytes struct {
	chunks [][]byte
	// open is one more than the number of the chunk that takes strings; 0 if there is
	// none.
	open int
	// spare are the numbers of chunks that were given back.
	spare []int
	// live and dead count bytes.
	live, dead int
	// old marks the chunks that a move empties.
	old []bool
}

// Len is the number of bytes of all strings that were not dropped.
func (a *Bytes) Len() int { return a.live }

// Full reports whether there may be no room for more.
func (a *Bytes) Full() bool {
	return len(a.chunks) > maxChunks-spareChunks && len(a.spare) < spareChunks
}

// Add returns the place of a string.
func (a *Bytes) Add(s []byte) uint32 {
	a.live += len(s)
	if len(s) > byteChunk/4 { // one that is long has its own chunk
		k := a.chunk(len(s))
		a.chunks[k] = append(a.chunks[k], s...)
		return uint32(k) << byteBits
	}
	if a.open == 0 || len(a.chunks[a.open-1])+len(s) > byteChunk {
		size := byteChunk
		if len(a.chunks) == 0 {
			size = firstBytes
		}
		a.open = a.chunk(size) + 1
	}
	c := &a.chunks[a.open-1]
	at := uint32(a.open-1)<<byteBits | uint32(len(*c))
	*c = append(*c, s...)
	return at
}

// chunk makes an empty chunk and returns its number.
func (a *Bytes) chunk(size int) int {
	if last := len(a.spare) - 1; last >= 0 {
		k := a.spare[last]
		a.spare = a.spare[:last]
		a.chunks[k] = make([]byte, 0, size)
		return k
	}
	a.chunks = append(a.chunks, make([]byte, 0, size))
	return len(a.chunks) - 1
}

// From returns the bytes from a place to the end of its chunk.
func (a *Bytes) From(at uint32) []byte { return a.chunks[at>>byteBits][at&(byteChunk-1):] }

// Drop says that n bytes at a place are not needed any more.
func (a *Bytes) Drop(at uint32, n int) {
	a.live -= n
	a.dead += n
	if a.live == 0 {
		*a = Bytes{}
		return
	}
	if n > byteChunk/4 {
		k := int(at >> byteBits)
		if k < len(a.old) {
			a.old[k] = false
		}
		a.dead -= n
		a.giveBack(k)
	}
}

func (a *Bytes) giveBack(k int) {
	a.chunks[k] = nil
	a.spare = append(a.spare, k)
}

// BeginMove begins to move what lives out of chunks that are mostly dead, and reports
// whether that is worth it. Each string then has to be given to Moved, up to EndMove.
func (a *Bytes) BeginMove() bool {
	if a.dead <= a.live || a.dead <= worthMoving {
		return false
	}
	a.old = make([]bool, len(a.chunks))
	for k, c := range a.chunks {
		a.old[k] = c != nil && len(c) <= byteChunk
	}
	a.open = 0
	return true
}

// Moved returns the new place of a string of n bytes.
func (a *Bytes) Moved(at uint32, n int) uint32 {
	if k := int(at >> byteBits); k >= len(a.old) || !a.old[k] {
		return at
	}
	a.live -= n
	return a.Add(a.From(at)[:n:n])
}

// EndMove gives the emptied chunks back.
func (a *Bytes) EndMove() {
	a.dead = 0
	for k, old := range a.old {
		if old {
			a.giveBack(k)
		}
	}
	a.old = nil
}
