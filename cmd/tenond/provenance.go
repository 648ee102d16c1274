package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/tenonbuild/tenon/internal/regular"
)

// readProvenanceEnv reads the JSON files of a directory: what they say is added to the
// provenance of builds, the last file's word counting. A directory that is not there
// says nothing.
func readProvenanceEnv(dir string) (map[string]any, error) {
	files, err := regular.Glob(dir, "*.json")
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	env := map[string]any{}
	for _, name := range files {
		dt, err := regular.Read(name, maxConfiguration)
		if err == nil {
			err = json.Unmarshal(dt, &env)
		}
		if err != nil {
			return nil, fmt.Errorf("provenance: %s: %w", filepath.Base(name), err)
		}
	}
	return env, nil
}
