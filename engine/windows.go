package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/tenonbuild/tenon/engine/export"
)

// checkWindows refuses images for Windows before anything is built: their layers are
// laid out in another way. What is built for Windows can go to a directory or an archive.
func (r *Request) checkWindows() error {
	image := slices.IndexFunc(r.Exports, func(x export.Request) bool {
		return x.Type == export.TypeImage || x.Type == export.TypeOCI || x.Type == export.TypeDocker
	})
	if image < 0 {
		return nil
	}
	for name := range strings.SplitSeq(r.FrontendAttrs["platform"], ",") {
		if p, err := platforms.Parse(name); err == nil && p.OS == "windows" {
			return fmt.Errorf("output type=%s, platform %s: %w", r.Exports[image].Type, name, export.ErrWindows)
		}
	}
	return nil
}
