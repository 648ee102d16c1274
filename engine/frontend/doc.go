// Package frontend runs frontends in this process: programs that turn a build into LLB.
package frontend
