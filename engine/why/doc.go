// Package why says why steps of a build ran. It compares what is kept of a build with what is
// kept of earlier ones, and names the first thing that differs: a file, an argument, an image.
// It reads no disk and asks no cache: all it knows is in a Build.
//
// # Evidence
//
// A step is found in a cache by what it does and by what its inputs are. A Step keeps both: the
// digests of its op, and for each input the keys by which the solver knew it. So whether two
// runs of a step differ, and in which input, is known for certain. The facts of the step, and
// the steps and sources that it stands on, say how they differ. Where the keys say that
// something differs and no fact does, the cause is Unknown and says so: nothing is guessed.
//
// # Which run is compared
//
// A step has a place: a stage, a platform, and an instruction in it. Align finds the steps of
// two builds that have the same place. Of the earlier builds the one is taken in which the step
// has the fewest differences; among equal ones the latest.
package why
