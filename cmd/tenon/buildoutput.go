package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/containerd/console"
	"github.com/distribution/reference"

	"github.com/tenonbuild/tenon/engine/export"
)

// exports are what --output and the flags beside it ask for. Kept reports that the
// result is to be built, and to stay in the cache only.
func (c *cli) exports(ctx context.Context, f *buildFlags) (reqs []export.Request, kept bool, err error) {
	outs, err := f.wanted()
	if err != nil {
		return nil, false, err
	}
	names, err := f.names()
	if err != nil {
		return nil, false, err
	}
	notes, err := f.annotationAttrs()
	if err != nil {
		return nil, false, err
	}
	if err := c.checkStandardOutput(outs); err != nil {
		return nil, false, err
	}
	images := false
	for _, o := range outs {
		if o.Attrs == nil {
			o.Attrs = map[string]string{}
		}
		if isImage(o.Type) {
			images = true
			o.Attrs["name"] = bothNames(names, o.Attrs["name"])
			if o.Attrs["name"] == "" {
				delete(o.Attrs, "name")
			}
			for k, v := range notes {
				if _, ok := o.Attrs[k]; !ok {
					o.Attrs[k] = v
				}
			}
			if o.Attrs["push"] == "true" && o.Attrs["name"] == "" {
				return nil, false, errors.New("an image that is pushed needs a name: give it with --tag")
			}
		}
		o.Umask = os.FileMode(c.umask)
		req, err := c.outputRequest(ctx, o, f)
		if err != nil {
			return nil, false, err
		}
		reqs = append(reqs, req)
	}
	if len(f.annotations) > 0 && !images {
		return nil, false, errors.New("--annotation needs an image: there is no output of one")
	}
	if f.iidFile != "" && !images {
		return nil, false, errors.New("--iidfile needs an image: there is no output of one")
	}
	return reqs, len(reqs) == 0, nil
}

// outputRequest is the request of one output. An image for docker that goes to no
// file goes to docker.
func (c *cli) outputRequest(ctx context.Context, o export.Output, f *buildFlags) (export.Request, error) {
	if o.Type == export.TypeDocker && o.Dest == "" {
		return c.dockerLoad(ctx, o.Attrs)
	}
	if o.Type == export.TypeLocal && strings.EqualFold(strings.TrimSpace(o.Attrs["mode"]), "delete") {
		if err := f.mayDeleteIn(o.Dest); err != nil {
			return export.Request{}, err
		}
	}
	return o.Request(c.out)
}

// bothNames are the names of --tag and of an output. "*" is the frontend's name, and
// alone.
func bothNames(tags, own string) string {
	switch {
	case own == "" || own == "*" && tags != "":
		return tags
	case tags == "":
		return own
	}
	return tags + "," + own
}

// checkStandardOutput checks that at most one output is written there, and that
// there is somebody who can do something with it.
func (c *cli) checkStandardOutput(outs []export.Output) error {
	n := 0
	for _, o := range outs {
		switch o.Type {
		case export.TypeTar, export.TypeOCI:
		case export.TypeDocker:
			if o.Dest == "" {
				continue // it goes to docker
			}
		default:
			continue
		}
		if o.Directory() || o.Dest != "" && o.Dest != "-" {
			continue
		}
		if isTerminal(c.out) {
			return fmt.Errorf("the output type=%s is an archive, and would be written to the terminal: redirect standard output, or name a file with dest=FILE", o.Type)
		}
		n++
	}
	if n > 1 {
		return fmt.Errorf("%d outputs would be written to standard output, which takes one: name files with dest=FILE", n)
	}
	return nil
}

func isTerminal(w io.Writer) bool { return terminal(w) != nil }

// terminal is what w writes to, if that is a terminal.
func terminal(w io.Writer) console.Console {
	if s, ok := w.(*spoken); ok {
		w = s.Writer
	}
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	t, err := console.ConsoleFromFile(f)
	if err != nil {
		return nil
	}
	return t
}

// terminalWidth is that of what w writes to, 0 if it is no terminal or does not say.
func terminalWidth(w io.Writer) int {
	t := terminal(w)
	if t == nil {
		return 0
	}
	size, err := t.Size()
	if err != nil {
		return 0
	}
	return int(size.Width)
}

// isImage says whether an exporter makes an image of the result.
func isImage(typ string) bool {
	return typ == export.TypeImage || typ == export.TypeOCI || typ == export.TypeDocker
}

// wanted are the outputs that the flags name or imply.
func (f *buildFlags) wanted() ([]export.Output, error) {
	var outs []export.Output
	for _, s := range f.outputs {
		o, err := export.ParseOutput(s)
		if err != nil {
			return nil, err
		}
		outs = append(outs, o)
	}
	load := export.Output{Type: export.TypeDocker, Attrs: map[string]string{}}
	loaded := slices.ContainsFunc(outs, func(o export.Output) bool { return o.Type == export.TypeDocker && o.Dest == "" })
	if f.load && !loaded {
		outs = append(outs, load)
	}
	image := export.Output{Type: export.TypeImage, Attrs: map[string]string{}}
	switch {
	case f.push:
		if len(f.tags) == 0 {
			return nil, errors.New("--push needs the image's name: give it with --tag")
		}
		for i := range outs {
			if outs[i].Type == export.TypeImage {
				outs[i].Attrs["push"] = "true"
				return outs, nil
			}
		}
		// The registry is where it is wanted: to store it here, too, would pull the
		// layers of its base that nothing has read.
		image.Attrs["push"], image.Attrs["store"] = "true", "false"
		return append(outs, image), nil
	case len(outs) == 0 && (len(f.tags) > 0 || f.iidFile != "" || f.quiet || len(f.annotations) > 0):
		if len(f.tags) == 0 {
			image.Attrs["dangling-name-prefix"] = "untagged"
		}
		return append(outs, image), nil
	}
	return outs, nil
}

// names are those of --tag, checked and completed, as the exporters take them.
func (f *buildFlags) names() (string, error) {
	var names []string
	for _, t := range f.tags {
		n, err := reference.ParseNormalizedNamed(t)
		if err != nil {
			return "", fmt.Errorf("--tag %q: %w", t, err)
		}
		if _, ok := n.(reference.Digested); ok {
			return "", fmt.Errorf("--tag %q: a digest follows from what is built and cannot be given", t)
		}
		names = append(names, reference.TagNameOnly(n).String())
	}
	return strings.Join(names, ","), nil
}

// annotationAttrs are the values of --annotation as attributes of exporters.
func (f *buildFlags) annotationAttrs() (map[string]string, error) {
	out := map[string]string{}
	for _, a := range f.annotations {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--annotation %q: it should look like name=value", a)
		}
		where := "manifest"
		if before, rest, ok := strings.Cut(key, ":"); ok {
			if !annotationTypes(before) {
				return nil, fmt.Errorf("--annotation %q: before the colon, there can be index, manifest, index-descriptor and manifest-descriptor, each with a [platform]", a)
			}
			where, key = before, rest
		}
		for w := range strings.SplitSeq(where, ",") {
			name, platform, found := strings.Cut(w, "[")
			if found {
				platform = "[" + platform
			}
			out["annotation-"+name+platform+"."+key] = value
		}
	}
	return out, nil
}

// annotationTypes says whether what is before a colon says where an annotation
// goes, and is not part of its name.
func annotationTypes(s string) bool {
	for w := range strings.SplitSeq(s, ",") {
		switch name, _, _ := strings.Cut(w, "["); name {
		case "index", "manifest", "index-descriptor", "manifest-descriptor":
		default:
			return false
		}
	}
	return true
}

// dockerLoad gives the image to the docker engine of this machine, by docker's own
// command, which knows where that is.
func (c *cli) dockerLoad(ctx context.Context, attrs map[string]string) (export.Request, error) {
	const instead = "-o type=docker,dest=image.tar writes what docker load reads"
	docker, err := exec.LookPath("docker")
	if err != nil {
		return export.Request{}, errors.New("to load an image (--load, or -o type=docker without dest=) needs the docker command, and there is none; " + instead)
	}
	ask := exec.CommandContext(ctx, docker, "version", "--format", "{{.Server.Version}}")
	if out, err := ask.CombinedOutput(); err != nil {
		return export.Request{}, fmt.Errorf("to load an image (--load, or -o type=docker without dest=) needs a docker engine: %s (%w); %s", bytes.TrimSpace(out), err, instead)
	}
	return export.Request{Type: export.TypeDocker, Attrs: attrs, Open: func(context.Context, map[string]string) (io.WriteCloser, error) {
		cmd := exec.CommandContext(ctx, docker, "load", "--quiet")
		said := &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = said, said
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return &loading{WriteCloser: in, cmd: cmd, said: said}, nil
	}}, nil
}

// loading is a docker load that reads what is written.
type loading struct {
	io.WriteCloser
	cmd  *exec.Cmd
	said *bytes.Buffer
}

func (l *loading) Close() error {
	err := l.WriteCloser.Close()
	if wait := l.cmd.Wait(); wait != nil {
		return fmt.Errorf("docker load: %s (%w)", bytes.TrimSpace(l.said.Bytes()), wait)
	}
	return err
}
