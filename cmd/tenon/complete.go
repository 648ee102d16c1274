package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/spf13/cobra"
)

// flagValues are what flags can be set to, where that is a list.
var flagValues = map[string][]string{
	"progress":   {"auto", "tty", "plain", "quiet", "none", "rawjson"},
	"call":       {"build", "check", "outline", "targets", "subrequests.describe"},
	"network":    {"default", "host", "none"},
	"allow":      {"network.host", "security.insecure", localDelete},
	"output":     {"type=local,dest=", "type=tar,dest=", "type=oci,dest=", "type=docker,dest=", "type=docker", "type=image", "type=registry", "type=cacheonly"},
	"platform":   {"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x"},
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

// completeBuild lets shells complete what a Dockerfile has, and images that there are.
func (c *cli) completeBuild(cmd *cobra.Command, f *buildFlags) {
	of := func(pick func(*parser.Node) string, end string, directive cobra.ShellCompDirective) cobra.CompletionFunc {
		return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return instructionsOf(args, f.file, pick, word, end), directive | cobra.ShellCompDirectiveNoFileComp
		}
	}
	for name, fn := range map[string]cobra.CompletionFunc{
		"target":          of(stageName, "", 0),
		"no-cache-filter": of(stageName, "", 0),
		"build-arg":       of(argName, "=", cobra.ShellCompDirectiveNoSpace),
		"tag": func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return c.completeImages(cmd, nil, word)
		},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, fn) // the flags are there
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
}

// instructionsOf picks something of the instructions of the Dockerfile that a command
// line means, as far as that can be read, and is a small regular file: whoever presses a
// key does not wait for more.
func instructionsOf(args []string, file string, pick func(*parser.Node) string, word, end string) (found []string) {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	dt := readForCompletion(dir, file)
	if dt == nil {
		return nil
	}
	result, err := parser.Parse(bytes.NewReader(dt))
	if err != nil {
		return nil
	}
	for _, node := range result.AST.Children {
		name := pick(node)
		odd := strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) })
		if name == "" || odd || !strings.HasPrefix(name, word) || slices.Contains(found, name+end) {
			continue
		}
		found = append(found, name+end)
	}
	return found
}

func readForCompletion(dir, file string) []byte {
	if isURL(dir) || dir == "-" || file == "-" || isURL(file) {
		return nil
	}
	name, err := defaultDockerfile(dir)
	if file != "" {
		path, named := findDockerfile(dir, file)
		if named != nil {
			return nil
		}
		if path, err = followOut(path); err == nil {
			dir, name = filepath.Dir(path), filepath.Base(path)
		}
	}
	if err != nil {
		return nil
	}
	dt, err := readWithin(dir, name, maxDockerfile)
	if err != nil {
		return nil
	}
	return dt
}

// stageName is the name of the stage that a FROM begins.
func stageName(n *parser.Node) string {
	words := wordsOf(n)
	if !strings.EqualFold(n.Value, "from") || len(words) != 3 || !strings.EqualFold(words[1], "as") {
		return ""
	}
	return strings.ToLower(words[2])
}

// argName is the name of an ARG's first variable.
func argName(n *parser.Node) string {
	words := wordsOf(n)
	if !strings.EqualFold(n.Value, "arg") || len(words) == 0 {
		return ""
	}
	name, _, _ := strings.Cut(words[0], "=")
	return name
}

func wordsOf(n *parser.Node) (words []string) {
	for w := n.Next; w != nil; w = w.Next {
		words = append(words, w.Value)
	}
	return words
}
