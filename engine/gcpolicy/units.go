package gcpolicy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/util/disk"
)

const hour = time.Hour

// Space is an amount of room: in bytes, or of the disk. In a configuration it is a
// number of bytes, "10GB" (where a GB is 1024 MB, as buildkitd has it) or "10%".
type Space struct {
	Bytes   int64
	Percent int64
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Space) UnmarshalText(dt []byte) (err error) {
	text := strings.Trim(string(dt), `"`)
	*s = Space{}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		s.Percent, err = strconv.ParseInt(percent, 10, 64)
	} else {
		s.Bytes, err = units.RAMInBytes(text)
	}
	if err != nil {
		return fmt.Errorf("%.100q is no room: say a number of bytes, as in 10GB, or a part of the disk, as in 10%%", text)
	}
	return nil
}

func (s Space) check(name string) error {
	if s.Bytes < 0 || s.Percent < 0 || s.Percent > 100 {
		return fmt.Errorf("%s: it can be 0 to 100 %% of the disk, or a number of bytes", name)
	}
	return nil
}

// of is how many bytes it is. A part of a disk is rounded up to a GB.
func (s Space) of(stat disk.DiskStat) int64 {
	if s.Bytes != 0 || s.Percent == 0 {
		return s.Bytes
	}
	return (stat.Total*s.Percent/100>>30 + 1) * 1e9
}

// Duration is a time: "48h", or a number of seconds.
type Duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(dt []byte) error {
	text := strings.Trim(string(dt), `"`)
	v, err := time.ParseDuration(text)
	if err != nil {
		n, bad := strconv.ParseInt(text, 10, 32)
		v, err = time.Duration(n)*time.Second, bad
	}
	if err != nil || v < 0 {
		return fmt.Errorf("%.100q is no time: say 48h, or a number of seconds", text)
	}
	d.Duration = v
	return nil
}
