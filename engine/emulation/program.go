package emulation

import (
	"debug/elf"
	"encoding/binary"
	"runtime"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// HeaderSize is how much of a program is looked at.
const HeaderSize = 20

// machines are the architectures of programs with 64 bits, and with less.
var machines = map[elf.Machine][2]string{
	elf.EM_X86_64: {"amd64", "amd64"}, elf.EM_386: {"", "386"}, elf.EM_AARCH64: {"arm64", ""}, elf.EM_ARM: {"", "arm"},
	elf.EM_RISCV: {"riscv64", ""}, elf.EM_S390: {"s390x", ""}, elf.EM_LOONGARCH: {"loong64", ""},
	elf.EM_PPC64: {"ppc64", ""}, elf.EM_MIPS: {"mips64", "mips"},
}

// swapped are the architectures whose name says that the order of bytes is the other one.
var swapped = map[string]string{"ppc64": "ppc64le", "mips64": "mips64le", "mips": "mipsle"}

// Architecture is that of a program, by the beginning of its file; "" if that does not say.
func Architecture(header []byte) string {
	if len(header) < HeaderSize || string(header[:4]) != elf.ELFMAG {
		return ""
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(header[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	bits := 1
	if elf.Class(header[elf.EI_CLASS]) == elf.ELFCLASS64 {
		bits = 0
	}
	arch := machines[elf.Machine(order.Uint16(header[18:]))][bits]
	if le, ok := swapped[arch]; ok && order == binary.LittleEndian {
		return le
	}
	return arch
}

// CheckProgram returns an *Error for a program of an architecture that is known not to run
// here. What an image says that it is for does not matter: programs of this machine run.
func CheckProgram(header []byte) error {
	arch := Architecture(header)
	if arch == "" {
		return nil
	}
	return Check(ocispec.Platform{OS: runtime.GOOS, Architecture: arch})
}

// CheckName returns an *Error for a platform of whose programs none runs here, whatever its
// images have: one of another system, or a variant that this machine does not have. What an
// image for another architecture has is seen when it runs.
func CheckName(p ocispec.Platform) error {
	p = platforms.Normalize(p)
	if p.OS == runtime.GOOS && p.Architecture != runtime.GOARCH {
		return nil
	}
	return Check(p)
}
