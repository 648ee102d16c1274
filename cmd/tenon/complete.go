package main

import "github.com/spf13/cobra"

// flagValues are what flags can be set to, where that is a list.
var flagValues = map[string][]string{
	"progress":   {"auto", "tty", "plain", "quiet", "rawjson"},
	"call":       {"build", "check", "outline", "targets"},
	"network":    {"default", "host", "none"},
	"allow":      {"network.host", "security.insecure"},
	"output":     {"type=local,dest=", "type=tar,dest=", "type=oci,dest=", "type=docker,dest=", "type=image", "type=registry", "type=cacheonly"},
	"provenance": {"false"},
	"sbom":       {"false"},
}

// completeValues lets shells complete the values of a command's flags.
func completeValues(cmd *cobra.Command) {
	for name, values := range flagValues {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if name == "output" {
			directive = cobra.ShellCompDirectiveNoSpace // and files: a directory is an output
		}
		// It fails for flags that are not there, or that have one already.
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, directive))
	}
}
