package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
)

// read lets use ask what there is.
func (c *cli) read(ctx context.Context, use func(query.Reader) error) error {
	return c.with(ctx, func(e *engine.Engine) error { return use(query.Local(e.Store())) })
}

// completeImages lets shells complete names of images.
func (c *cli) completeImages(cmd *cobra.Command, args []string, word string) (names []string, _ cobra.ShellCompDirective) {
	quiet := *c
	quiet.flags.noWait = true
	if !quiet.hasRoot() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	err := quiet.read(cmd.Context(), func(r query.Reader) error {
		all, err := r.Images(cmd.Context())
		for _, img := range all {
			for _, n := range img.Names {
				names = append(names, images.Familiar(n))
			}
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// hasRoot says whether there is a folder of state: to ask what is in it makes one.
func (c *cli) hasRoot() bool {
	cfg, err := c.configure()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(cfg.Root, "version"))
	return err == nil
}
