package store

import (
	"archive/tar"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Layers for Windows have files below Files, and below Hives what has changed in the
// registry, which nothing here knows. Both directories have to be there. What Windows wants
// to know of a file is in PAX records. A tree here is what is below Files.

const (
	windowsFiles = "Files/"
	// windowsForm ends the names of forms of layers that were laid out here.
	windowsForm form = "+windows"
)

func (f form) windows() bool { return strings.HasSuffix(string(f), string(windowsForm)) }

// fromWindows makes the header of a file that of one in a tree. It is false of what is not
// in one.
func fromWindows(h *tar.Header) bool {
	name, ok := strings.CutPrefix(h.Name, windowsFiles)
	if !ok || name == "" {
		return false
	}
	h.Name = name
	if h.Typeflag == tar.TypeLink {
		h.Linkname = strings.TrimPrefix(h.Linkname, windowsFiles)
	}
	return true
}

// toWindows makes the header of a file that of one in a layer.
func toWindows(h *tar.Header) {
	h.Name = windowsFiles + h.Name
	if h.Typeflag == tar.TypeLink {
		h.Linkname = windowsFiles + h.Linkname
	}
	markWindows(h)
}

// What Windows knows of a file: attributes (FILE_ATTRIBUTE_DIRECTORY and _ARCHIVE), when it
// was made, and who may do what: administrators and the system anything, users read.
const (
	paxAttributes = "MSWINDOWS.fileattr"
	paxCreated    = "LIBARCHIVE.creationtime"
	paxSecurity   = "MSWINDOWS.rawsd"
)

func markWindows(h *tar.Header) {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.Format = tar.FormatPAX
	switch h.Typeflag {
	case tar.TypeDir:
		h.PAXRecords[paxAttributes], h.PAXRecords[paxSecurity] = "16", directorySecurity
	case tar.TypeReg:
		h.PAXRecords[paxAttributes], h.PAXRecords[paxSecurity] = "32", fileSecurity
	}
	if !h.ModTime.IsZero() {
		h.PAXRecords[paxCreated] = fmt.Sprintf("%d.%d", h.ModTime.Unix(), h.ModTime.Nanosecond())
	}
}

// What Windows lets whom do with a directory, and all below it that says nothing else, and
// with a file.
var directorySecurity, fileSecurity = windowsSecurity(0x1 | 0x2), windowsSecurity(0)

// windowsSecurity is a security descriptor, as bytes behind one another, in base64. It
// belongs to the administrators; these and the system may do all, users read and execute.
// Inherit are the flags by which that holds for files (1) and directories (2) below, too.
func windowsSecurity(inherit byte) string {
	sid := func(authorities ...uint32) []byte {
		out := []byte{1, byte(len(authorities)), 0, 0, 0, 0, 0, 5} // of NT
		for _, a := range authorities {
			out = binary.LittleEndian.AppendUint32(out, a)
		}
		return out
	}
	admins, system, users := sid(32, 544), sid(18), sid(32, 545)
	const all, read = 0x1f01ff, 0x1200a9
	var entries []byte
	allow := func(who []byte, what uint32) {
		entries = append(entries, 0, inherit)
		entries = binary.LittleEndian.AppendUint16(entries, uint16(8+len(who)))
		entries = append(binary.LittleEndian.AppendUint32(entries, what), who...)
	}
	allow(admins, all)
	allow(system, all)
	allow(users, read)
	list := []byte{2, 0}
	for _, n := range []int{8 + len(entries), 3, 0} {
		list = binary.LittleEndian.AppendUint16(list, uint16(n))
	}
	const header, selfRelative, hasList = 20, 0x8000, 0x4
	out := binary.LittleEndian.AppendUint16([]byte{1, 0}, selfRelative|hasList)
	owner, group := header, header+len(admins)
	for _, offset := range []int{owner, group, 0, group + len(system)} {
		out = binary.LittleEndian.AppendUint32(out, uint32(offset))
	}
	out = slices.Concat(out, admins, system, list, entries)
	return base64.StdEncoding.EncodeToString(out)
}

// beginWindows writes what a layer begins with.
func beginWindows(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, name := range []string{"Hives", strings.TrimSuffix(windowsFiles, "/")} {
		h := &tar.Header{Name: name, Typeflag: tar.TypeDir, ModTime: time.Unix(0, 0)}
		markWindows(h)
		delete(h.PAXRecords, paxSecurity)
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	return tw.Flush() // more comes
}
