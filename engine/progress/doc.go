// Package progress shows the status of a build to people and programs: with
// BuildKit's display, but saying of each step what became of it. CACHED is only
// what was loaded from a cache; what an equal step made, of this build or another, is said to be shared; what
// was not needed is not shown as if it had been.
package progress
