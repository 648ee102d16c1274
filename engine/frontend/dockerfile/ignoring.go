package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"

	"github.com/tenonbuild/tenon/engine/session"
)

// ignoring is a reference in which a file that says what is left out of a context is
// either read or not there. The library goes on without one that cannot be read, and so
// would put into an image what was to be left out of it.
type ignoring struct {
	client.Reference
	stop context.CancelCauseFunc
}

// ReadFile implements client.Reference.
func (r *ignoring) ReadFile(ctx context.Context, req client.ReadRequest) ([]byte, error) {
	dt, err := r.Reference.ReadFile(ctx, req)
	if err == nil || ctx.Err() != nil || !strings.HasSuffix(req.Filename, dockerui.DefaultDockerignoreName) {
		return dt, err
	}
	if errors.Is(err, session.ErrNotFound) {
		return dt, err // nothing is lent, and so nothing gets into an image
	}
	if errors.Is(err, fs.ErrNotExist) {
		at, lerr := r.ReadDir(ctx, client.ReadDirRequest{Path: path.Dir(req.Filename)})
		for _, st := range at {
			if lerr == nil && st.Path == path.Base(req.Filename) {
				lerr = fmt.Errorf("it is a link to %q, which is nothing within its folder", st.Linkname)
			}
		}
		if lerr == nil || errors.Is(lerr, fs.ErrNotExist) {
			return dt, err
		}
		err = lerr
	}
	err = fmt.Errorf("what the context leaves out, in %s: %w", req.Filename, err)
	r.stop(err)
	return nil, err
}
