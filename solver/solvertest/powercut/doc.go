// Package powercut shows to a test what a machine that loses its power can leave of a
// program's files. It knows nothing of their formats.
//
//	log, err := powercut.Record(exec.Command(os.Args[0], "-test.run=^TestChild$"), dir)
//	err = log.Cuts(func(d *powercut.Disk) error {
//		left := t.TempDir()
//		if err := d.Leave(left, powercut.Nothing); err != nil {
//			return err
//		}
//		return check(left, d.Said()) // what was promised before is there
//	})
//
// Record runs the program under strace, and notes what it does to the files below a
// folder: writes, changes of names, syncs; and the lines that it prints, by which the
// program says what it has promised. Cuts goes through the times at which most is not
// synced: before each sync, and after each line.
//
// # What a disk may do
//
// What counts is what POSIX promises, which is less than what each file system does:
//
//   - Fsync and fdatasync of a file make its bytes and its size last, and not its name.
//     Opening it with O_SYNC makes nothing last.
//   - Fsync of a folder makes the names in it last. A folder that is new needs that of the
//     folder above, too.
//   - What is not synced may be lost or kept in any order. Of a file each sector is as it
//     was at the last sync, or after any change since; its size, too, and what lies
//     between is zeros. Of names that changed each change is kept or lost, in the order of
//     changes of one name. Renaming within a folder is one change.
//
// Owners, modes, times and attributes are not followed. What cannot be followed, such as
// a mapping that is written to, is an error.
package powercut
