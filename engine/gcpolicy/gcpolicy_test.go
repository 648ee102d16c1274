package gcpolicy

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/util/disk"
	"github.com/pelletier/go-toml/v2"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`reservedSpace = "10GB"`, ""},
		{`maxUsedSpace = 1024`, ""},
		{`minFreeSpace = "20%"`, ""},
		{`minFreeSpace = "120%"`, "minFreeSpace: it can be 0 to 100 %"},
		{`minFreeSpace = "-1%"`, "minFreeSpace"},
		{`maxUsedSpace = "much"`, "is no room"},
		{"[[gcpolicy]]\nkeepDuration = \"48h\"\nkeepBytes = \"1GB\"\nfilters = [\"type==regular\"]", ""},
		{"[[gcpolicy]]\nkeepDuration = 3600\nall = true", ""},
		{"[[gcpolicy]]\nkeepDuration = \"-1h\"", "is no time"},
		{"[[gcpolicy]]\nfilters = [\"===\"]", "gcpolicy 1: filter"},
	} {
		var cfg Config
		err := toml.NewDecoder(strings.NewReader(c.text)).DisallowUnknownFields().Decode(&cfg)
		if err == nil {
			err = cfg.Check()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

// Of nothing become limits from the disk's size, in the order that buildkitd has.
func TestDefault(t *testing.T) {
	for size, want := range map[int64][3]int64{ // reserved, used, free
		10 << 30:   {2e9, 9e9, 3e9},
		1000 << 30: {10e9, 100e9, 201e9},
	} {
		l := Default(disk.DiskStat{Total: size})
		stat := disk.DiskStat{Total: size}
		if got := [3]int64{l.ReservedSpace.of(stat), l.MaxUsedSpace.of(stat), l.MinFreeSpace.of(stat)}; got != want {
			t.Errorf("%d: %v, want %v", size, got, want)
		}
	}
	got, err := (&Config{}).For(t.TempDir())
	if err != nil || len(got.Policies) != 4 || got.Policies[0].KeepDuration != 48*time.Hour || !got.Cap().All || got.Cap().MaxUsedSpace == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	off := false
	if got, err = (&Config{Enabled: &off}).For(t.TempDir()); err != nil || len(got.Policies) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	mine := Config{Limits: Limits{MaxUsedSpace: Space{Bytes: 5}}}
	if got, err = mine.For(t.TempDir()); err != nil || got.Cap().MaxUsedSpace != 5 || got.Cap().MinFreeSpace != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	old := Config{Policies: []Policy{{KeepBytes: Space{Bytes: 7}}}}
	if got, err = old.For(t.TempDir()); err != nil || got.Cap().ReservedSpace != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}
