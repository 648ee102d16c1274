package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// localDelete lets -o type=local,mode=delete remove what is in a directory outside the
// current one: see docker buildx build.
const localDelete = "buildx.local.delete"

// checkAllow takes what is not for steps out of --allow, and refuses what is not there.
func (f *buildFlags) checkAllow() error {
	var steps []string
	for _, a := range f.allow {
		name, _, hasValue := strings.Cut(a, "=")
		switch {
		case a == "":
		case name == localDelete && hasValue:
			return fmt.Errorf("--allow %s: it has no value", a)
		case name == localDelete:
			f.mayDelete = true
		case name == "device":
			return fmt.Errorf("--allow %s: CDI devices are not there yet: a step cannot have one", a)
		default:
			steps = append(steps, a)
		}
	}
	f.allow = steps
	return nil
}

// checkPolicies refuses source policies, but not that there be none.
func (f *buildFlags) checkPolicies() error {
	for _, v := range f.policies {
		if v != "disabled=true" {
			return fmt.Errorf("--policy %s: source policies are not there yet: leave the flag out, or say --policy disabled=true", v)
		}
	}
	return nil
}

// refusedArgs are build arguments that ask the builder for what is not there.
var refusedArgs = map[string]string{
	"BUILDKIT_INLINE_BUILDINFO_ATTRS": "build info is no longer a part of images, in BuildKit neither",
}

// checkArg refuses a build argument of the builder's that asks for what is not there.
func checkArg(name, value string) error {
	why, ok := refusedArgs[name]
	if no, err := strconv.ParseBool(value); !ok || err == nil && !no {
		return nil
	}
	return fmt.Errorf("--build-arg %s=%s: %s: leave it out", name, value, why)
}

// refusedEnv are variables that docker buildx reads, which ask for what is not there.
// Only values that ask for something are refused.
var refusedEnv = map[string]string{
	"BUILDX_GIT_LABELS":                   "labels are not made of a git repository: give them with --label",
	"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "source policies are not there yet",
}

// checkEnv refuses what the environment asks docker buildx for and this would not do.
func (c *cli) checkEnv(f *buildFlags) error {
	refuse := refusedEnv
	if f.metadataFile != "" {
		refuse = map[string]string{"BUILDX_METADATA_PROVENANCE": "--metadata-file has no provenance: ask for it with --provenance, as a part of the output"}
		for name, why := range refusedEnv {
			refuse[name] = why
		}
	}
	for _, name := range sortedKeys(refuse) {
		v, _ := c.env(name)
		if yes, err := strconv.ParseBool(v); v == "" || v == "disabled" || err == nil && !yes {
			continue
		}
		return fmt.Errorf("%s=%s in the environment: %s (unset it to go on without)", name, v, refuse[name])
	}
	return nil
}

// checkPolicy refuses a Dockerfile with a policy beside it, which docker buildx would
// hold the build to.
func (in *buildInput) checkPolicy(f *buildFlags) error {
	dir, ok := in.dirs["dockerfile"]
	if !ok || len(f.policies) > 0 {
		return nil
	}
	path := filepath.Join(dir, in.attrs["filename"]+".rego")
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	return fmt.Errorf("%s: source policies are not there yet: --policy disabled=true builds without", path)
}

// mayDeleteIn says whether -o type=local,mode=delete may remove what is in a directory:
// below the current one it may.
func (f *buildFlags) mayDeleteIn(dir string) error {
	real, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if r, err := filepath.EvalSymlinks(real); err == nil {
		real = r
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	if here, err = filepath.EvalSymlinks(here); err != nil {
		return err
	}
	rel, err := filepath.Rel(here, real)
	if f.mayDelete || err == nil && rel != "." && filepath.IsLocal(rel) {
		return nil
	}
	return fmt.Errorf("output type=local,mode=delete would remove what else is in %s, which is not below the current directory: --allow %s lets it", dir, localDelete)
}
