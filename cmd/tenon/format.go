package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/containerd/console"
	"github.com/docker/cli/templates"

	"github.com/tenonbuild/tenon/internal/stream"
)

// camel finds where the words of a field's name begin.
var camel = regexp.MustCompile(`([a-z])([A-Z])`)

// columnGap is how far columns are apart.
const columnGap = 3

// printRows prints what a list shows, as --format has it in docker's terms: "json" is an
// object a line, "table TEMPLATE" has columns with a head, any other text is a Go
// template. "" and "table" print the list as it usually is.
func printRows[T any](w io.Writer, format string, rows []T, usual func(io.Writer) error) error {
	switch format {
	case "", "table", "pretty":
		tw := tabwriter.NewWriter(w, 0, 0, columnGap, ' ', 0)
		if err := usual(tw); err != nil {
			return err
		}
		return tw.Flush()
	case "json":
		enc := json.NewEncoder(w)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	text, table := strings.CutPrefix(format, "table ")
	// As people type it in quotes of the shell.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := templates.Parse(text)
	if err != nil {
		return fmt.Errorf("--format %q: %w", format, err)
	}
	tw := tabwriter.NewWriter(w, 0, 0, columnGap, ' ', 0)
	if table {
		head, err := templates.New("").Funcs(templates.HeaderFunctions).Parse(text)
		if err != nil {
			return fmt.Errorf("--format %q: %w", format, err)
		}
		if err := execute(tw, format, head, headOf[T]()); err != nil {
			return err
		}
		w = tw
	}
	for _, r := range rows {
		if err := execute(w, format, t, r); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func execute(w io.Writer, format string, t *template.Template, v any) error {
	if err := t.Execute(w, v); err != nil {
		return fmt.Errorf("--format %q: %w (--format json shows the fields)", format, err)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// headOf are the heads of columns by field.
func headOf[T any]() map[string]string {
	head := map[string]string{}
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		name := t.Field(i).Name
		head[name] = strings.ToUpper(camel.ReplaceAllString(name, "$1 $2"))
	}
	return head
}

// confirm asks at a terminal whether to go on; elsewhere there is nobody to ask.
func (c *cli) confirm(warning string, force bool) (bool, error) {
	in, ok := c.in.(*stream.Reader)
	if force || !ok {
		return true, nil
	}
	if _, err := console.ConsoleFromFile(in.File()); err != nil {
		return true, nil
	}
	fmt.Fprintf(c.err, "WARNING: %s\nAre you sure you want to continue? [y/N] ", warning)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	if err == io.EOF {
		fmt.Fprintln(c.err) // nobody has ended the line
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(c.err, "nothing was removed")
	return false, nil
}
