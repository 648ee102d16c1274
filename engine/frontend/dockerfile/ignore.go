package dockerfile

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/patternmatcher"
)

// Each file of a context is held against each pattern, so that many of them take hours.
const (
	maxPatterns     = 10_000
	maxPatternBytes = 1 << 20
)

// checkIgnored looks at what the context leaves out, before anything is held against it.
// The conversion reads it, too: it is read once.
func checkIgnored(ctx context.Context, bc *dockerui.Client) error {
	patterns, err := bc.DockerIgnorePatterns(ctx)
	if err != nil {
		return err
	}
	size := 0
	for i, p := range patterns {
		if size += len(p); size > maxPatternBytes || i >= maxPatterns {
			return fmt.Errorf(".dockerignore: it has more than %d patterns, or more than %d KiB of them: name directories instead of the files in them", maxPatterns, maxPatternBytes>>10)
		}
		if _, err := patternmatcher.New([]string{p}); err != nil {
			return fmt.Errorf(".dockerignore: the pattern %.100q: %w", p, err)
		}
	}
	return nil
}
