package emulation_test

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/containerd/platforms"

	"github.com/tenonbuild/tenon/engine/emulation"
	"github.com/tenonbuild/tenon/internal/check"
)

// header is the beginning of a program.
func header(class, data byte, machine uint16) []byte {
	h := append([]byte("\x7fELF"), class, data, 1)
	h = append(h, make([]byte, 11)...)
	if data == 2 {
		return binary.BigEndian.AppendUint16(h, machine)
	}
	return binary.LittleEndian.AppendUint16(h, machine)
}

func TestArchitecture(t *testing.T) {
	for want, h := range map[string][]byte{
		"amd64": header(2, 1, 62), "386": header(1, 1, 3), "arm64": header(2, 1, 183), "arm": header(1, 1, 40), "riscv64": header(2, 1, 243),
		"s390x": header(2, 2, 22), "loong64": header(2, 1, 258), "ppc64le": header(2, 1, 21), "ppc64": header(2, 2, 21),
		"mips64le": header(2, 1, 8), "mips64": header(2, 2, 8), "mipsle": header(1, 1, 8), "mips": header(1, 2, 8),
	} {
		check.Equal(t, want, emulation.Architecture(h), want)
	}
	for name, h := range map[string][]byte{
		"nothing": nil, "a script": []byte("#!/bin/sh\necho and more of it"), "cut off": header(2, 1, 62)[:19],
		"an unknown machine": header(2, 1, 0xfffe), "another width": header(1, 1, 183), "an odd order": header(2, 7, 0),
	} {
		check.Equal(t, name, emulation.Architecture(h), "")
	}
	self, err := os.ReadFile("/proc/self/exe")
	check.OK(t, err)
	check.Equal(t, "this program", emulation.Architecture(self), runtime.GOARCH)
}

// A program is refused for what it is, and a platform's name only where none of its programs
// runs here.
func TestCheckProgram(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	check.OK(t, err)
	check.OK(t, emulation.CheckProgram(self))
	check.OK(t, emulation.CheckProgram([]byte("#!/bin/sh")))
	_, ok := errors.AsType[*emulation.Error](emulation.CheckProgram(header(1, 2, 8)))
	check.Equal(t, "a program for mips is refused", ok, true)

	for name, may := range map[string]bool{
		"linux/" + runtime.GOARCH: true, "linux/none": true, "linux/mips": true,
		"plan9/386": false, "windows/" + runtime.GOARCH: false, "linux/amd64/v9": runtime.GOARCH != "amd64",
	} {
		check.Equal(t, name, emulation.CheckName(platforms.MustParse(name)) == nil, may)
	}
}
