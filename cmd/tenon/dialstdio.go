package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/daemon"
)

func (c *cli) dialStdioCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dial-stdio",
		Short: "Connect standard input and output to the daemon",
		Long: `Connect standard input and output to the daemon that --addr or TENON_HOST names, or that
has the root. It is for programs that reach a machine or a container by a command, such as
ssh or docker exec.`,
		Example: `  ssh build.example tenon dial-stdio`,
		Hidden:  true,
		Args:    arguments(0, 0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.dialStdio(cmd.Context()) },
	}
}

func (c *cli) dialStdio(ctx context.Context) error {
	conn, err := c.dialDaemon(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, c.in)
		if w, ok := conn.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, w.CloseWrite())
		}
		sent <- err
	}()
	// What the daemon says last may come when all was sent.
	_, err = io.Copy(c.out, conn)
	select {
	case failed := <-sent:
		err = errors.Join(err, failed)
	default: // it waits for input that nobody reads any more
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *cli) dialDaemon(ctx context.Context) (net.Conn, error) {
	addr := c.daemonAddr()
	if addr == "" {
		cfg, err := c.configure()
		if err != nil {
			return nil, err
		}
		return daemon.DialOwner(ctx, engine.Questions(cfg.Root))
	}
	network, where, _ := strings.Cut(addr, "://")
	if network != "unix" && network != "tcp" {
		return nil, fmt.Errorf("daemon at %s: dial-stdio goes to unix://PATH and tcp://HOST:PORT", addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, where)
}
