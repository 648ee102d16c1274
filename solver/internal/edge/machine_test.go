package edge

// machine is a Machine together with its inputs, as a driver keeps them.
type machine struct {
	Machine
	in []Input
}

func (m *machine) Init(n int, managers, later Managers) {
	m.Machine.Init(n, Caches{managers, later})
	m.in = make([]Input, n)
}

func (m *machine) Step(ev Event, out *[]Effect) { m.Machine.Step(m.in, ev, out) }
