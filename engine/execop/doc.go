// Package execop is the LLB exec op: it runs a process in a container.
package execop
