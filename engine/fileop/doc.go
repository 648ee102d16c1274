// Package fileop is the LLB file op: mkdir, mkfile, symlink, rm and copy.
package fileop
