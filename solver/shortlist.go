package solver

// shortList is a list of what there is mostly one of, in the order in which it was added
// until something is removed. It takes less room than a slice, and none elsewhere
// until there are two. The zero value of T is no element.
type shortList[T comparable] struct {
	one  T
	more *[]T // further ones; only if there is one
}

func (f *shortList[T]) empty() bool {
	var none T
	return f.one == none
}

func (f *shortList[T]) add(x T) {
	switch {
	case f.empty():
		f.one = x
	case f.more == nil:
		f.more = &[]T{x}
	default:
		*f.more = append(*f.more, x)
	}
}

// rest are all but one.
func (f *shortList[T]) rest() []T {
	if f.more == nil {
		return nil
	}
	return *f.more
}

func (f *shortList[T]) has(x T) bool {
	return f.at(x) >= 0
}

// remove takes an element out, and reports whether it was there.
func (f *shortList[T]) remove(x T) bool {
	var none T
	rest := f.rest()
	last := len(rest) - 1
	switch at := f.at(x); {
	case at < 0:
		return false
	case last < 0:
		f.one = none
		return true
	case at == 0:
		f.one = rest[last]
	default:
		rest[at-1] = rest[last]
	}
	rest[last] = none
	*f.more = rest[:last]
	return true
}

// at is where an element stands: 0 for one, further ones follow; -1 if it is not
// there.
func (f *shortList[T]) at(x T) int {
	if f.empty() {
		return -1
	}
	if f.one == x {
		return 0
	}
	for i, o := range f.rest() {
		if o == x {
			return i + 1
		}
	}
	return -1
}

// take empties the list, and returns what was in it.
func (f *shortList[T]) take() shortList[T] {
	all := *f
	*f = shortList[T]{}
	return all
}

// all yields the elements. The list may be changed meanwhile only by replacing it.
func (f shortList[T]) all(yield func(T) bool) {
	if f.empty() || !yield(f.one) {
		return
	}
	for _, x := range f.rest() {
		if !yield(x) {
			return
		}
	}
}
