package daemon

import (
	"context"
	"errors"

	bkclient "github.com/moby/buildkit/client"

	"github.com/tenonbuild/tenon/engine/store"
)

// Prune removes records in the daemon's root, as store.Store.Prune does.
func (c *Client) Prune(ctx context.Context, opt store.PruneOptions, removed func(store.UsageInfo)) error {
	if opt.DryRun {
		return errors.New("a daemon cannot be asked what it would remove: leave out --dry-run, or see tenon du")
	}
	opts := []bkclient.PruneOption{
		bkclient.WithFilter(store.ForBuildkitd(opt.Filters)),
		bkclient.WithKeepOpt(opt.KeepDuration, opt.ReservedSpace, opt.MaxUsedSpace, opt.MinFreeSpace),
	}
	if opt.All {
		opts = append(opts, bkclient.PruneAll)
	}
	ch := make(chan bkclient.UsageInfo)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for u := range ch {
			removed(fromUsage(u))
		}
	}()
	err := c.bk.Prune(ctx, ch, opts...)
	close(ch)
	<-done
	return err
}

func fromUsage(u bkclient.UsageInfo) store.UsageInfo {
	out := store.UsageInfo{
		ID: u.ID, Mutable: u.Mutable, InUse: u.InUse, Size: u.Size, Shared: u.Shared, Parents: u.Parents,
		CreatedAt: u.CreatedAt, UsageCount: u.UsageCount, Description: u.Description, Type: string(u.RecordType),
	}
	if u.LastUsedAt != nil {
		out.LastUsedAt = *u.LastUsedAt
	}
	return out
}
