package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/tenonbuild/tenon/engine/control"
)

// listenInherited takes the sockets that systemd has opened for this process, or those of
// one name (FileDescriptorName=).
func listenInherited(cfg *configuration, name string) (all []listener, err error) {
	given, err := activation.ListenersWithNames()
	if err != nil {
		return nil, err
	}
	for n, list := range given {
		for _, l := range list {
			if l == nil || name != "" && n != name {
				continue
			}
			creds := control.Local()
			if l.Addr().Network() != "unix" {
				if creds, err = tcpCredentials(cfg, l.Addr().String()); err != nil {
					return all, errors.Join(fmt.Errorf("socket %s: %w", l.Addr(), err), closeAll(given))
				}
			}
			all = append(all, listener{l, creds})
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errors.New("there is no such socket: systemd gives them to a service that a .socket unit starts"), closeAll(given))
	}
	return all, nil
}

func closeAll(given map[string][]net.Listener) (err error) {
	for _, list := range given {
		for _, l := range list {
			if l != nil {
				err = errors.Join(err, l.Close())
			}
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
