// Package devices has the devices of this machine that steps can be given: those that
// specifications of CDI (Container Device Interface) in some directories describe. A
// specification says what a container is given for a device: device nodes, mounts,
// environment variables, hooks.
//
// A build gets a device if it was granted it, or if its specification has the annotation
// org.mobyproject.buildkit.device.autoallow, or if it is among those that all builds may have.
package devices

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/llbsolver/cdidevices"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// Directories are where specifications are looked for by default.
var Directories = []string{"/etc/cdi", "/var/run/cdi", "/etc/tenon/cdi"}

// Device is one device, or several by one name.
type Device = cdidevices.Device

// Devices are those of some directories, as they are when they are asked about. The nil
// Devices are none.
type Devices struct{ all *cdidevices.Manager }

// Open looks for specifications in directories, which need not be there. Allowed are
// devices, or kinds of devices, that all builds may have. Specifications that cannot be read
// are told to notice.
func Open(directories, allowed []string, notice func(string)) (*Devices, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(directories...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, err
	}
	for file, errs := range cache.GetErrors() {
		notice(fmt.Sprintf("devices: %s: %v", file, errs[0]))
	}
	return &Devices{cdidevices.NewManager(cache, allowed)}, nil
}

// Manager gives containers devices; nil of none.
func (d *Devices) Manager() *cdidevices.Manager {
	if d == nil {
		return nil
	}
	return d.all
}

// List lists all devices.
func (d *Devices) List() []Device {
	if d == nil {
		return nil
	}
	_ = d.all.Refresh() // what can be read is there
	return d.all.ListDevices()
}

// Grant returns the devices that a step gets which asks for some, by their full names. What
// is optional, and not there, is left out.
func (d *Devices) Grant(asked []*pb.CDIDevice, granted entitlements.Set) ([]*pb.CDIDevice, error) {
	if d == nil {
		return nil, none(asked)
	}
	_ = d.all.Refresh()
	config, _ := granted[entitlements.EntitlementDevice].(*entitlements.DevicesConfig)
	if config == nil {
		config = &entitlements.DevicesConfig{}
	}
	var names, known []*pb.CDIDevice
	for _, a := range asked {
		if to := config.Devices[a.GetName()]; to != "" {
			known = append(known, &pb.CDIDevice{Name: to, Optional: a.GetOptional()}) // an alias
		} else {
			names = append(names, a)
		}
	}
	found, err := d.all.FindDevices(names...)
	if err != nil {
		return nil, err
	}
	may := map[string]bool{}
	for name := range config.Devices {
		of, err := d.all.FindDevices(&pb.CDIDevice{Name: name, Optional: true})
		if err != nil {
			return nil, err
		}
		for _, f := range of {
			may[f] = true
		}
	}
	var forbidden []string
	for _, f := range found {
		if !config.All && !may[f] && !d.all.GetDevice(f).AutoAllow {
			forbidden = append(forbidden, f)
		}
		known = append(known, &pb.CDIDevice{Name: f})
	}
	if len(forbidden) == 1 {
		return nil, fmt.Errorf("device %s is requested by the build but not allowed", forbidden[0]) // as BuildKit says
	}
	if len(forbidden) > 1 {
		return nil, fmt.Errorf("devices %s are requested by the build but not allowed", strings.Join(forbidden, ", "))
	}
	return known, nil
}

// none refuses devices where there are none.
func none(asked []*pb.CDIDevice) error {
	for _, a := range asked {
		if !a.GetOptional() {
			return fmt.Errorf("the device %q is needed, and steps get no devices here", a.GetName())
		}
	}
	return nil
}
