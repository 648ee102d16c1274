package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/internal/release"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  arguments(0, 0, "no argument"),
		Run: func(*cobra.Command, []string) {
			fmt.Fprintln(c.text(), release.Line("tenon"))
		},
	}
}
