// Package bomb makes small archives that would be large or slow to unpack, for tests.
package bomb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
)

// Cut is an archive that ends behind the header of a file.
func Cut(h tar.Header) []byte {
	var dt bytes.Buffer
	h.Mode, h.Typeflag = 0o644, tar.TypeReg
	_ = tar.NewWriter(&dt).WriteHeader(&h) // a Buffer does not fail
	return dt.Bytes()
}

// Holes is an archive with a file "bomb" of that size, all of which is a hole, as
// tar --sparse writes it.
func Holes(size int64) []byte {
	var records string
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=bomb", fmt.Sprint("GNU.sparse.realsize=", size)} {
		records += fmt.Sprintf("%d %s\n", len(kv)+4, kv) // the length has two digits
	}
	return []byte(header('x', "records", int64(len(records))) + block(records) + header('0', "bomb", 512) + block("0\n") + strings.Repeat("\x00", 1024))
}

// Records is an archive that begins with so many bytes of records about a file.
func Records(size int64) []byte {
	return append([]byte(header('x', "records", size)), make([]byte, 8<<20)...)
}

func block(s string) string { return s + strings.Repeat("\x00", -len(s)&511) }

func header(typ byte, name string, size int64) string {
	b := []byte(block(name))
	copy(b[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00        %c", 0o644, 0, 0, size, 0, typ))
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(b)
}
