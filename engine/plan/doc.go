// Package plan says what a build would do: which steps would run, which come from a cache, and
// of which that is not known before others have run. It reads no disk and asks no cache: it
// looks at what the solver has decided about a graph whose ops were looked up and not run.
//
// # How it is known
//
// Where an op would run, it results in a tree of which nothing is known, and its content is
// taken for one that no cache has. So the solver finds what it would find in the worst case:
// what it loads would be loaded in any case, and what it does not look at would not be looked
// at. What it runs would run in the worst case. It runs for certain if
//
//   - no content that is not known can change that no cache has it: in each cache there is an
//     input that does not lead to the step, and of which all is known, or of which the cache
//     has nothing that leads to such a step. Not all is known of an input whose content is not,
//     where that counts, nor of one that may itself be found;
//   - and it is needed for certain: it is the result, or an input of what runs for certain, or
//     one of what may be found only by that input's result or by its being found.
//
// Of the others it is not known. By the second condition, in each case a step is found or runs:
// if what needs it runs, it is needed, and if that is found, then by this input.
package plan
