package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
)

// memRate is how many bytes are allocated between two samples of an allocation
// profile. It is finer than usual: a Build is short.
const memRate = 8 << 10

// startProfiles begins the profiles that the flags ask for. The function it
// returns writes them.
func startProfiles(o options) (stop func() error, err error) {
	var cpu *os.File
	if o.memProfile != "" {
		runtime.MemProfileRate = memRate
	}
	if o.cpuProfile != "" {
		if cpu, err = os.Create(o.cpuProfile); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return nil, errors.Join(err, cpu.Close())
		}
	}
	return func() error {
		if cpu != nil {
			pprof.StopCPUProfile()
			if err := cpu.Close(); err != nil {
				return err
			}
		}
		return writeAllocs(o.memProfile)
	}, nil
}

func writeAllocs(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	runtime.GC() // the profile tells of what was allocated before the last collection
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
