// Package gcpolicy makes of a configuration in buildkitd's words what a store removes by
// itself. It does not import buildkitd's package, which brings what signs things.
package gcpolicy

import (
	"errors"
	"fmt"

	"github.com/moby/buildkit/util/disk"

	"github.com/tenonbuild/tenon/engine/store"
)

// Config is a configuration as buildkitd has it, for [gc]. The zero value stands for
// limits from the disk's size: see Default.
type Config struct {
	// Enabled is false for nothing to be removed by itself; nil stands for true.
	Enabled *bool `toml:"enabled"`
	Limits
	// Policies take the place of those that are made of the limits.
	Policies []Policy `toml:"gcpolicy"`
}

// Limits are how much is kept. If one is given, the others stand for no limit.
type Limits struct {
	// ReservedSpace is kept in any case, MaxUsedSpace the most that is kept, and
	// MinFreeSpace what should be free on the disk.
	ReservedSpace Space `toml:"reservedSpace"`
	MaxUsedSpace  Space `toml:"maxUsedSpace"`
	MinFreeSpace  Space `toml:"minFreeSpace"`
}

// Policy is what one pass removes: see store.PruneOptions.
type Policy struct {
	All          bool     `toml:"all"`
	Filters      []string `toml:"filters"`
	KeepDuration Duration `toml:"keepDuration"`
	// KeepBytes is what ReservedSpace was called, as many configurations have it still.
	KeepBytes Space `toml:"keepBytes"`
	Limits
}

// Default are the limits that a disk of any size has: 80 % of it or 100 GB are used at
// most, 20 % of it stay free, and 10 % of it or 10 GB are kept in any case.
func Default(stat disk.DiskStat) Limits {
	least := func(percent, bytes int64) Space {
		if s := (Space{Percent: percent}); s.of(stat) <= bytes {
			return s
		}
		return Space{Bytes: bytes}
	}
	return Limits{ReservedSpace: least(10, 10e9), MaxUsedSpace: least(80, 100e9), MinFreeSpace: Space{Percent: 20}}
}

// Check says what of a configuration cannot be.
func (c *Config) Check() error {
	err := c.Limits.check()
	for i, p := range c.Policies {
		bad := errors.Join(store.CheckFilters(p.Filters), p.Limits.check(), p.KeepBytes.check("keepBytes"))
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("gcpolicy %d: %w", i+1, bad))
		}
	}
	return err
}

func (l Limits) check() error {
	return errors.Join(l.ReservedSpace.check("reservedSpace"), l.MaxUsedSpace.check("maxUsedSpace"), l.MinFreeSpace.check("minFreeSpace"))
}

// For makes policies for a root, or any directory that is on its disk.
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
		list = c.Limits.policies(stat)
	}
	var out store.Collecting
	for _, p := range list {
		if p.ReservedSpace == (Space{}) {
			p.ReservedSpace = p.KeepBytes
		}
		out.Policies = append(out.Policies, store.PruneOptions{
			All: p.All, Filters: p.Filters, KeepDuration: p.KeepDuration.Duration,
			ReservedSpace: p.ReservedSpace.of(stat), MaxUsedSpace: p.MaxUsedSpace.of(stat), MinFreeSpace: p.MinFreeSpace.of(stat),
		})
	}
	return out, nil
}

// policies are those that buildkitd makes of limits: what can be had again most easily
// goes first, then what was not used for long, then the rest, and what is internal last.
func (l Limits) policies(stat disk.DiskStat) []Policy {
	if l == (Limits{}) {
		l = Default(stat)
	}
	first := Policy{
		Filters:      []string{"type==" + store.TypeLocalSource, "type==" + store.TypeCacheMount, "type==" + store.TypeGitCheckout},
		KeepDuration: Duration{48 * hour},
	}
	first.MaxUsedSpace.Bytes = 512e6
	return []Policy{first, {KeepDuration: Duration{60 * 24 * hour}, Limits: l}, {Limits: l}, {All: true, Limits: l}}
}
