package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/tenonbuild/tenon/engine"
)

// attrs are the attributes of the Dockerfile frontend that the flags stand for.
// Their names are BuildKit's.
func (f *buildFlags) attrs(env func(string) (string, bool)) (map[string]string, error) {
	a := map[string]string{}
	if f.target != "" {
		a["target"] = f.target
	}
	for _, arg := range f.buildArgs {
		name, value, given := strings.Cut(arg, "=")
		if name == "" {
			return nil, fmt.Errorf("--build-arg %q: it has no name", arg)
		}
		if !given {
			v, ok := env(name)
			if !ok {
				continue // as docker does: the ARG keeps its default
			}
			value = v
		}
		if err := checkArg(name, value); err != nil {
			return nil, err
		}
		a["build-arg:"+name] = value
	}
	if v, ok := env("SOURCE_DATE_EPOCH"); ok && v != "" && a["build-arg:SOURCE_DATE_EPOCH"] == "" {
		a["build-arg:SOURCE_DATE_EPOCH"] = v
	}
	platform, err := platformAttr(f.platforms, env)
	if err != nil {
		return nil, err
	}
	if platform != "" {
		a["platform"] = platform
	}
	for _, l := range f.labels {
		name, value, _ := strings.Cut(l, "=")
		if name == "" {
			return nil, fmt.Errorf("--label %q: it has no name", l)
		}
		a["label:"+name] = value
	}
	switch {
	case f.noCache:
		a["no-cache"] = ""
	case len(f.noCacheFilter) > 0:
		a["no-cache"] = strings.Join(f.noCacheFilter, ",")
	}
	if f.countTimes != nil {
		a[engine.CountTimesAttr] = f.countTimes.attr()
	}
	if mode := f.pull.resolveMode(); mode != "" {
		a["image-resolve-mode"] = mode
	}
	if f.cgroupParent != "" {
		a["cgroup-parent"] = f.cgroupParent
	}
	if err := f.attestAttrs(a); err != nil {
		return nil, err
	}
	return a, f.runAttrs(a)
}

// runAttrs adds those of RUN steps.
func (f *buildFlags) runAttrs(a map[string]string) error {
	switch f.network {
	case "default":
	case "host", "none":
		a["force-network-mode"] = f.network
	default:
		return fmt.Errorf("--network %q: it can be default, host or none", f.network)
	}
	hosts, err := f.hosts()
	if err != nil {
		return err
	}
	if len(hosts) > 0 {
		a["add-hosts"] = strings.Join(hosts, ",")
	}
	var limits []string
	for _, l := range f.ulimits {
		u, err := units.ParseUlimit(l)
		if err != nil {
			return fmt.Errorf("--ulimit %q: %w", l, err)
		}
		limits = append(limits, u.String())
	}
	if len(limits) > 0 {
		a["ulimit"] = csvLine(limits)
	}
	if f.shmSize != "" {
		n, err := units.RAMInBytes(f.shmSize)
		if err != nil {
			return fmt.Errorf("--shm-size %q: %w", f.shmSize, err)
		}
		a["shm-size"] = fmt.Sprint(n)
	}
	return nil
}

// hosts are the values of --add-host as the frontend takes them.
func (f *buildFlags) hosts() ([]string, error) {
	var out []string
	for _, h := range f.addHosts {
		name, ip, ok := strings.Cut(h, "=")
		if !ok {
			name, ip, ok = strings.Cut(h, ":")
		}
		ip = strings.Trim(ip, "[]")
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("--add-host %q: it should look like name:IP", h)
		case ip == "host-gateway":
			var err error
			if ip, err = hostAddress(); err != nil {
				return nil, fmt.Errorf("--add-host %q: %w", h, err)
			}
		case net.ParseIP(ip) == nil:
			return nil, fmt.Errorf("--add-host %q: %q is not an IP address", h, ip)
		}
		out = append(out, name+"="+ip)
	}
	return out, nil
}

// hostAddress is an address of this machine that steps reach it by: the one that its
// connections to elsewhere have, or the first that it has.
func hostAddress() (string, error) {
	if c, err := net.Dial("udp4", "198.51.100.1:9"); err == nil { // nothing is sent
		defer c.Close()
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok && !a.IP.IsLoopback() {
			return a.IP.String(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("this machine has no IPv4 address but its loopback's, which steps do not reach")
}

func csvLine(fields []string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(fields) // a strings.Builder does not fail
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
