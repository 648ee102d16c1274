package solver

import (
	"context"
	"errors"

	"github.com/tenonbuild/tenon/solver/internal/slots"
)

// releaser is a hold on a result.
type releaser interface{ Release(context.Context) error }

// releaseAll releases what nobody needs any more. If one ends the goroutine, the others
// are released all the same.
func releaseAll(holds []releaser) error {
	if len(holds) == 0 {
		return nil
	}
	var errs []error
	n := 0
	defer func() {
		if n < len(holds) {
			releaseAll(holds[n:]) //nolint:errcheck // there is nobody to tell any more
		}
	}()
	for n < len(holds) {
		n++
		if err := release(holds[n-1]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func release(r releaser) (err error) {
	defer recovered("Release", &err)
	return r.Release(context.Background())
}

// releaseCall releases what nobody needs any more. It is a call like others, with slots of
// its own: a Release may take long, or never return, and holds up nothing but releases.
type releaseCall struct {
	task
	holds []releaser
}

func (c *releaseCall) vertices(func(*vertex)) {}
func (c *releaseCall) do(context.Context)     { releaseAll(c.holds) } //nolint:errcheck // nobody waits for it
func (c *releaseCall) done()                  {}

func (s *Solver) releaseLater(holds []releaser) slots.Place {
	c := &releaseCall{holds: holds}
	c.Work, c.Lane, c.Weight, c.s = c, s.releases, 1, s
	c.returned = true // nobody is told how it ends
	c.Ready()
	return slots.Place{Ticket: &c.Ticket, Client: &s.orphans}
}

// throw has a hold be released. If a vertex held it that goes with its last job, the
// Discard of that job does so, and tells the error.
func (s *Solver) throw(r releaser) {
	if job, ok := s.g.Leaving(); ok {
		// A job that is not being discarded has the number from one that has gone.
		if j := s.numbers[job]; j != nil && j.discarded {
			j.trash = append(j.trash, r)
			return
		}
	}
	s.trash = append(s.trash, r)
}
