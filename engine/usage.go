package engine

import (
	"sync"

	"github.com/moby/buildkit/executor/resources"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
)

// observe notes, every few seconds, what the machine has to do while the build goes on, if
// that is to be said in its provenance. A machine that does not tell fails no build.
func (a *attester) observe() (end func()) {
	a.usage = func() []*resourcestypes.SysSample { return nil }
	if a.provenance == nil || !a.provenance.Usage {
		return func() {}
	}
	sampler, err := resources.NewSysSampler()
	if err != nil {
		return func() {}
	}
	recording := sampler.Record()
	a.usage = sync.OnceValue(func() []*resourcestypes.SysSample {
		samples, err := recording.Close(true)
		if err != nil {
			return nil
		}
		return samples
	})
	return func() {
		a.usage()
		_ = sampler.Close() // never fails
	}
}
