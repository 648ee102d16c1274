// Package gcpolicy makes of a configuration in buildkitd's words what a store removes by
// itself.
package gcpolicy

import (
	"errors"
	"fmt"

	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/util/disk"

	"github.com/tenonbuild/tenon/engine/store"
)

// Config is a configuration as buildkitd has it, for [gc]. The zero value stands for
// limits from the disk's size: at most 80 % of it or 100 GB are used, 20 % of it stay
// free, and 10 % of it or 10 GB are kept in any case.
type Config struct {
	// Enabled is false for nothing to be removed by itself; nil stands for true.
	Enabled *bool `toml:"enabled"`
	// ReservedSpace is kept in any case, MaxUsedSpace the most that is kept, and
	// MinFreeSpace what should be free on the disk: in bytes ("10GB") or of the disk
	// ("10%"). If one is given, the others stand for no limit.
	ReservedSpace config.DiskSpace `toml:"reservedSpace"`
	MaxUsedSpace  config.DiskSpace `toml:"maxUsedSpace"`
	MinFreeSpace  config.DiskSpace `toml:"minFreeSpace"`
	// Policies take the place of those that are made of the limits.
	Policies []config.GCPolicy `toml:"gcpolicy"`
}

// Check says what of a configuration cannot be.
func (c *Config) Check() error {
	check := func(name string, d config.DiskSpace) error {
		if d.Bytes < 0 || d.Percentage < 0 || d.Percentage > 100 {
			return fmt.Errorf("%s: it can be 0 to 100 %% of the disk, or a number of bytes", name)
		}
		return nil
	}
	err := errors.Join(check("reservedSpace", c.ReservedSpace), check("maxUsedSpace", c.MaxUsedSpace), check("minFreeSpace", c.MinFreeSpace))
	for i, p := range c.Policies {
		_, bad := store.UsageFilter(p.Filters)
		if p.KeepDuration.Duration < 0 {
			bad = errors.Join(bad, errors.New("keepDuration is negative"))
		}
		bad = errors.Join(bad, check("keepBytes", keepBytes(p)), check("reservedSpace", p.ReservedSpace), check("maxUsedSpace", p.MaxUsedSpace), check("minFreeSpace", p.MinFreeSpace))
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("gcpolicy %d: %w", i+1, bad))
		}
	}
	return err
}

// For makes policies for a root, which need not be there yet: dir is on its disk.
func (c *Config) For(dir string) (store.Collecting, error) {
	if c.Enabled != nil && !*c.Enabled {
		return store.Collecting{}, nil
	}
	if err := c.Check(); err != nil {
		return store.Collecting{}, err
	}
	stat, err := disk.GetDiskStat(dir)
	if err != nil {
		return store.Collecting{}, err
	}
	list := c.Policies
	if len(list) == 0 {
		list = config.DefaultGCPolicy(config.GCConfig{
			GCReservedSpace: c.ReservedSpace, GCMaxUsedSpace: c.MaxUsedSpace, GCMinFreeSpace: c.MinFreeSpace,
		}, stat)
	}
	var out store.Collecting
	for _, p := range list {
		if p.ReservedSpace == (config.DiskSpace{}) {
			p.ReservedSpace = keepBytes(p)
		}
		out.Policies = append(out.Policies, store.PruneOptions{
			All: p.All, Filters: p.Filters, KeepDuration: p.KeepDuration.Duration,
			ReservedSpace: p.ReservedSpace.AsBytes(stat), MaxUsedSpace: p.MaxUsedSpace.AsBytes(stat), MinFreeSpace: p.MinFreeSpace.AsBytes(stat),
		})
	}
	return out, nil
}

// keepBytes is what ReservedSpace was called, as many configurations of buildkitd have
// it still.
func keepBytes(p config.GCPolicy) config.DiskSpace {
	return p.KeepBytes //lint:ignore SA1019 it is read, and not written
}
