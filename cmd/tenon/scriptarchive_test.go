package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptArchives: archives writes archives that nobody should trust.
func scriptArchives(ts *testscript.TestScript, _ bool, _ []string) {
	write := func(name string, dt []byte) { ts.Check(os.WriteFile(ts.MkAbs(name), dt, 0o644)) }
	pack := func(headers ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			ts.Check(w.WriteHeader(&h))
			_, err := io.Copy(w, io.LimitReader(zeros{}, h.Size))
			ts.Check(err)
		}
		ts.Check(w.Close())
		return b.Bytes()
	}
	zip := func(dt []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(dt)
		ts.Check(err)
		ts.Check(w.Close())
		return b.Bytes()
	}
	write("climb.tar", pack(
		tar.Header{Name: "../evil", Size: 1}, tar.Header{Name: "/../../evil", Size: 1},
		tar.Header{Name: "d/../../evil", Size: 1}, tar.Header{Name: "fine", Size: 1}))
	write("link.tar", pack(
		tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ts.MkAbs("outside")}, tar.Header{Name: "l/evil", Size: 1},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "m", Linkname: "../../../../../../.." + ts.MkAbs("outside")}, tar.Header{Name: "m/evil", Size: 1}))
	write("hard.tar", pack(tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "../../../../../../../../../etc/passwd"}))

	// What is said to be 8 EiB has 512 bytes.
	lie := pack(tar.Header{Name: "large", Size: 512})
	copy(lie[124:136], []byte{0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	sum := 8 * int(' ')
	for i, b := range lie[:512] {
		if i < 148 || i >= 156 {
			sum += int(b)
		}
	}
	copy(lie[148:156], octal(sum))
	write("lie.tar", lie)

	noise := make([]byte, 0, 1<<17)
	for sum := sha256.Sum256(nil); len(noise) < 1<<17; sum = sha256.Sum256(sum[:]) {
		noise = append(noise, sum[:]...)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	ts.Check(w.WriteHeader(&tar.Header{Name: "noise", Size: int64(len(noise)), Mode: 0o644}))
	_, err := w.Write(noise)
	ts.Check(err)
	ts.Check(w.Close())
	cut := zip(b.Bytes())
	write("cut.tar.gz", cut[:len(cut)/2])
	write("bomb.tar.gz", zip(pack(tar.Header{Name: "bomb", Size: 64 << 20})))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// octal is a number as the check sum of a header of an archive.
func octal(n int) []byte {
	out := []byte("000000\x00 ")
	for i := 5; i >= 0; i-- {
		out[i] = byte('0' + n%8)
		n /= 8
	}
	return out
}
