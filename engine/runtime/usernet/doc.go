// Package usernet gives each container a network namespace of its own that reaches
// out, without changing anything of this machine: no bridge, no address, no rule of
// a firewall, no ip_forward.
//
//	container ── eth0 ─ step4 ┐
//	                          ├ router ── tap0 ── slirp4netns ── this machine's sockets
//	container ── eth0 ─ step5 ┘
//
// The router is a namespace, too: the kernel forwards what containers send to one
// slirp4netns, which makes connections of it. It is there for two things.
// slirp4netns passes on whatever frame it is given, also one to 127.0.0.1 that a
// container wrote by itself (CAP_NET_RAW is among the usual capabilities), and so
// would connect to this machine's loopback; the kernel takes no such packet from a
// wire. And a namespace more costs a few messages to the kernel, not a process more.
//
// Containers do not reach each other, the router, this machine's loopback or its
// abstract unix sockets. What they reach besides is what this machine reaches, its
// own addresses that are not loopback among it, as in docker's bridge network. There
// is IPv4 only.
//
// Namespaces have no name: this process holds them by file descriptors, and
// slirp4netns ends when a pipe from this process does. A process that is killed
// leaves nothing behind.
package usernet
