// Package contenthash computes digests of what a path in a tree of files is.
package contenthash
