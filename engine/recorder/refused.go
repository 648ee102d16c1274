package recorder

import (
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/why"
)

// saying has the error of a step that must not run say why it would.
func (r *Recorder) saying(mayRun func(digest.Digest, string) error, now why.Build) func(digest.Digest, string) error {
	l := &live{r: r, now: &now}
	var mu sync.Mutex // guards l
	return func(step digest.Digest, name string) error {
		err := mayRun(step, name)
		if err == nil {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		l.any()
		if e := l.explanation(step); e != nil && len(e.Causes) > 0 {
			err = fmt.Errorf("%w: %s", err, inWords(e.Causes))
		}
		return err
	}
}
