package main

import (
	"slices"
	"strings"
)

// nameTexts are texts in the names of steps, by which a flag names them; nil without it.
type nameTexts []string

// allSteps is what such a flag is without a value.
const allSteps = "all"

func (c *nameTexts) String() string { return strings.Join(*c, ",") }
func (c *nameTexts) Type() string   { return "string" }

// Set adds the texts of a value. Empty ones would be in all names.
func (c *nameTexts) Set(s string) error {
	texts := slices.DeleteFunc(strings.Split(s, ","), func(t string) bool { return t == "" })
	*c = append(append(nameTexts{}, *c...), texts...)
	return nil
}

// attr is the frontend's attribute.
func (c nameTexts) attr() string {
	if slices.Contains(c, allSteps) {
		return ""
	}
	return c.String()
}

// names says whether a step is one of those.
func (c nameTexts) names(step string) bool {
	return slices.ContainsFunc(c, func(t string) bool { return t == allSteps || strings.Contains(step, t) })
}
