//go:build race

package solvertest

const raceEnabled = true
