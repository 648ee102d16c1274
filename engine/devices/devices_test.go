package devices_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/tenonbuild/tenon/engine/devices"
	"github.com/tenonbuild/tenon/internal/check"
)

func spec(t *testing.T, dir, vendor, annotations string, names ...string) {
	t.Helper()
	text := "cdiVersion: \"0.6.0\"\nkind: \"" + vendor + "/device\"\n" + annotations + "devices:\n"
	for _, n := range names {
		text += "- name: " + n + "\n  containerEdits:\n    env:\n    - " + strings.ToUpper(n) + "=1\n"
	}
	check.OK(t, os.WriteFile(filepath.Join(dir, vendor+".yaml"), []byte(text), 0o600))
}

func TestGrant(t *testing.T) {
	dir := t.TempDir()
	var told []string
	check.OK(t, os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte("{"), 0o600))
	d, err := devices.Open([]string{dir, filepath.Join(dir, "none")}, []string{"always.com/device"}, func(s string) { told = append(told, s) })
	check.OK(t, err)
	check.Equal(t, "specifications that cannot be read", len(told), 1)
	spec(t, dir, "free.com", "annotations:\n  org.mobyproject.buildkit.device.autoallow: true\n", "a", "b")
	spec(t, dir, "closed.com", "", "a", "b")
	spec(t, dir, "always.com", "", "a")
	check.Equal(t, "devices", len(d.List()), 5)

	for _, c := range []struct {
		asked string // a question mark makes it optional
		allow []string
		want  string
		says  string
	}{
		{"free.com/device=a", nil, "free.com/device=a", ""},
		{"free.com/device=*", nil, "free.com/device=a free.com/device=b", ""},
		{"free.com/device", nil, "free.com/device=a", ""},
		{"always.com/device=a", nil, "always.com/device=a", ""},
		{"none.com/device=a?", nil, "", ""},
		{"none.com/device=a", nil, "", `required device "none.com/device=a" is not registered`},
		{"closed.com/device=a", nil, "", "device closed.com/device=a is requested by the build but not allowed"},
		{"closed.com/device=*", nil, "", "are requested by the build but not allowed"},
		{"closed.com/device=a?", nil, "", "not allowed"},
		{"closed.com/device=*", []string{"device"}, "closed.com/device=a closed.com/device=b", ""},
		{"closed.com/device=a", []string{"device=closed.com/device=a"}, "closed.com/device=a", ""},
		{"closed.com/device=b", []string{"device=closed.com/device=a"}, "", "not allowed"},
		{"closed.com/device=*", []string{"device=closed.com/device=*"}, "closed.com/device=a closed.com/device=b", ""},
		{"mine", []string{"device=closed.com/device=a,alias=mine"}, "closed.com/device=a", ""},
		{"", nil, "", "is not registered"},
	} {
		var allow []entitlements.Entitlement
		for _, a := range c.allow {
			allow = append(allow, entitlements.Entitlement(a))
		}
		set, err := entitlements.WhiteList(allow, nil)
		check.OK(t, err)
		name, optional := strings.CutSuffix(c.asked, "?")
		got, err := d.Grant([]*pb.CDIDevice{{Name: name, Optional: optional}}, set)
		if c.says != "" {
			check.Says(t, err, c.says)
			continue
		}
		check.OK(t, err)
		var names []string
		for _, g := range got {
			names = append(names, g.Name)
		}
		slices.Sort(names)
		check.Equal(t, c.asked, strings.Join(names, " "), c.want)
	}
}

func TestNoDevices(t *testing.T) {
	var d *devices.Devices
	got, err := d.Grant([]*pb.CDIDevice{{Name: "a", Optional: true}, nil}[:1], nil)
	check.OK(t, err)
	check.Equal(t, "devices", len(got)+len(d.List()), 0)
	_, err = d.Grant([]*pb.CDIDevice{{Name: "a"}}, nil)
	check.Says(t, err, `"a" is needed`)
}
