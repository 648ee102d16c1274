package regular

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Glob finds files in a folder by a pattern. The folder's own path may have what is a
// wildcard.
func Glob(dir, pattern string) ([]string, error) {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return names, err
}
