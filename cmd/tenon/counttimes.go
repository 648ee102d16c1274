package main

import (
	"slices"
	"strings"
)

// countTimes are the steps that --count-times names; nil without it.
type countTimes []string

// allSteps is what --count-times alone is.
const allSteps = "all"

func (c *countTimes) String() string { return strings.Join(*c, ",") }
func (c *countTimes) Type() string   { return "string" }

// Set adds the texts of a value. Empty ones would be in all names.
func (c *countTimes) Set(s string) error {
	texts := slices.DeleteFunc(strings.Split(s, ","), func(t string) bool { return t == "" })
	*c = append(append(countTimes{}, *c...), texts...)
	return nil
}

// attr is the frontend's attribute.
func (c countTimes) attr() string {
	if slices.Contains(c, allSteps) {
		return ""
	}
	return c.String()
}
