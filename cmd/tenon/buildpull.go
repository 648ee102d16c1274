package main

import (
	"fmt"
	"strconv"
)

// pullPolicy is a value of --pull.
type pullPolicy string

const (
	pullDefault pullPolicy = ""
	pullAlways  pullPolicy = "always"
	pullMissing pullPolicy = "missing"
	pullNever   pullPolicy = "never"
)

// Set implements pflag.Value. As in docker, it may be true or false.
func (p *pullPolicy) Set(s string) error {
	switch v := pullPolicy(s); v {
	case pullAlways, pullMissing, pullNever:
		*p = v
		return nil
	}
	yes, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("it can be always (true), missing, never or false")
	}
	*p = pullDefault
	if yes {
		*p = pullAlways
	}
	return nil
}

func (p *pullPolicy) String() string { return string(*p) }

// Type implements pflag.Value.
func (p *pullPolicy) Type() string { return "when" }

// resolveMode is the frontend's image-resolve-mode; "" for its default.
func (p pullPolicy) resolveMode() string {
	switch p {
	case pullAlways:
		return "pull"
	case pullMissing, pullNever:
		return "local"
	}
	return ""
}
