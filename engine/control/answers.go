package control

import "sync"

// answers tell when requests for builds are answered, by the names of the builds. The zero
// value is ready.
type answers struct {
	mu    sync.Mutex // guards what follows
	byRef map[string]*answer
}

// answer is that to the next request of a name that is answered.
type answer struct {
	users int
	given chan struct{} // closed when it is
}

// await returns a channel that is closed when a request is answered which is under way, or
// comes before leave is called.
func (a *answers) await(ref string) (given <-chan struct{}, leave func()) {
	one := a.use(ref)
	return one.given, func() { a.leave(ref, one) }
}

// begin has a request be under way until end is called.
func (a *answers) begin(ref string) (end func()) {
	one := a.use(ref)
	return func() {
		a.leave(ref, one)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.byRef[ref] == one {
			delete(a.byRef, ref) // who comes now waits for another one
		}
		select {
		case <-one.given: // there was another one of that name, which was refused
		default:
			close(one.given)
		}
	}
}

func (a *answers) use(ref string) *answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.byRef[ref]
	if one == nil {
		if a.byRef == nil {
			a.byRef = map[string]*answer{}
		}
		one = &answer{given: make(chan struct{})}
		a.byRef[ref] = one
	}
	one.users++
	return one
}

func (a *answers) leave(ref string, one *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one.users--; one.users == 0 && a.byRef[ref] == one {
		delete(a.byRef, ref)
	}
}
