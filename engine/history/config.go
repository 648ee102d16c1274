package history

import "github.com/tenonbuild/tenon/engine/gcpolicy"

// Config is the section of a configuration file that says how many builds are recorded, in
// buildkitd's words. Nil stands for DefaultLimits.
type Config struct {
	MaxAge     gcpolicy.Duration `toml:"maxAge"`
	MaxEntries *int              `toml:"maxEntries"`
}

// Limits are what the section says.
func (c *Config) Limits() Limits {
	if c == nil {
		return DefaultLimits
	}
	l := Limits{Age: c.MaxAge.Duration}
	if c.MaxEntries != nil {
		l.Entries, l.None = *c.MaxEntries, *c.MaxEntries == 0
	}
	return l
}
