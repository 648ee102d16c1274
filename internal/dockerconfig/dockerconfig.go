// Package dockerconfig reads docker's config.json, and the auth.json of podman, which
// is written alike.
package dockerconfig

import (
	"bytes"
	"fmt"

	"github.com/docker/cli/cli/config/configfile"

	"github.com/tenonbuild/tenon/internal/regular"
)

// maxSize is how many bytes of a file are read.
const maxSize = 16 << 20

// Read reads a regular file. One without text is an empty configuration. The error for
// one that is not there is fs.ErrNotExist.
func Read(path string) (*configfile.ConfigFile, error) {
	dt, err := regular.Read(path, maxSize)
	if err != nil {
		return nil, err
	}
	file := configfile.New(path)
	if len(bytes.TrimSpace(dt)) == 0 {
		return file, nil
	}
	if err := file.LoadFromReader(bytes.NewReader(dt)); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return file, nil
}
