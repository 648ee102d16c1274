// Package progress shows the status of a build to people and programs.
package progress
