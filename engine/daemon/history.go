package daemon

import (
	"context"

	controlapi "github.com/moby/buildkit/api/services/control"
)

// DeleteRecord removes the record of a build from the daemon's history.
func (c *Client) DeleteRecord(ctx context.Context, ref string) error {
	_, err := c.bk.ControlClient().UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: ref, Delete: true})
	return err
}
