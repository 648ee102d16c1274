package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/tenonbuild/tenon/engine/control"
)

// inherited are the sockets that systemd has opened for this process, by their names
// (FileDescriptorName=), and that no address has taken. They can be had once.
type inherited struct {
	had   bool
	given map[string][]net.Listener
}

// take takes those of a name, or all.
func (i *inherited) take(cfg *configuration, name string) (all []listener, err error) {
	if !i.had {
		i.had = true
		if i.given, err = activation.ListenersWithNames(); err != nil {
			return nil, err
		}
	}
	for n, list := range i.given {
		if name != "" && n != name {
			continue
		}
		delete(i.given, n)
		for _, l := range list {
			all = append(all, listener{l, control.Local()})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("there is no such socket: systemd gives them to a service that a .socket unit starts")
	}
	for n, l := range all {
		if l.Addr().Network() != "unix" {
			if all[n].credentials, err = tcpCredentials(cfg, l.Addr().String()); err != nil {
				return all, fmt.Errorf("socket %s: %w", l.Addr(), err)
			}
		}
	}
	return all, nil
}

// close closes those that nobody has taken: who connects to one is not to wait for an answer.
func (i *inherited) close() (err error) {
	for _, list := range i.given {
		for _, l := range list {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// tellSystemd says, where systemd started this process, that it serves, or is about to end.
func tellSystemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		notice(fmt.Sprintf("systemd could not be told %q: %v", state, err))
	}
}
