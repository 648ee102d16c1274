package engine

import "strings"

// CountTimesAttr is the frontend attribute that names steps of which the times of what they
// write count: a later step that reads those is then not found by the same files with
// other times. Its value is a list, with commas, of texts that are in the names of the steps;
// "" stands for all steps.
const CountTimesAttr = "count-times"

// timesCount says of the names of steps whether their times count; nil where none do.
func timesCount(attrs map[string]string) func(step string) bool {
	list, asked := attrs[CountTimesAttr]
	if !asked {
		return nil
	}
	return func(step string) bool {
		for text := range strings.SplitSeq(list, ",") {
			if strings.Contains(step, text) {
				return true
			}
		}
		return false
	}
}
