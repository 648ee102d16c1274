package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/internal/stream"
)

// printError says what went wrong, with the lines of the Dockerfile that it is
// about.
func printError(w io.Writer, err error) {
	shown := map[string]bool{}
	for _, s := range errdefs.Sources(err) {
		var text strings.Builder
		s.Ranges = firstLines(s.Ranges)
		if s.Print(&text) == nil && !shown[text.String()] {
			shown[text.String()] = true
			fmt.Fprint(w, text.String())
		}
	}
	fmt.Fprintf(w, "ERROR: %s\n", progress.Bounded(err.Error()))
	var out *outputError
	full, elsewhere := fullPlace(err)
	switch {
	case errors.As(err, &out): // it may well be that disk that is full, and not ours
	case elsewhere:
		fmt.Fprintf(w, "The disk that %s is written to is full: make room there, or write it to another one.\n", progress.Bounded(full))
	case errors.Is(err, syscall.ENOSPC):
		fmt.Fprintln(w, "The disk is full. \"tenon du\" shows what builds have left there, and \"tenon prune\" removes it.")
	case errors.Is(err, syscall.EPERM) && os.Geteuid() != 0:
		fmt.Fprintln(w, "Building gives files owners and mounts file systems: run tenon as root. What runs no command is built by any user under \"unshare -Urm\", too.")
	}
}

// fullPlace is the output or the cache whose disk is full, if it is one.
func fullPlace(err error) (path string, ok bool) {
	var place *export.OutputError
	var folder *remotecache.FolderError
	var cause error
	switch {
	case errors.As(err, &place):
		path, cause = place.Path, place
	case errors.As(err, &folder):
		path, cause = folder.Path, folder
	}
	return path, errors.Is(cause, syscall.ENOSPC) || errors.Is(cause, syscall.EDQUOT)
}

// firstLines are the first of the ranges that an error or a warning is about, which are
// of one line each: an instruction may have a hundred thousand.
func firstLines(ranges []*pb.Range) []*pb.Range { return ranges[:min(len(ranges), 20)] }

// checkReports checks, before anything is built, that there are places for the files of report.
func (f *buildFlags) checkReports() error {
	for _, file := range []struct{ flag, path string }{{"iidfile", f.iidFile}, {"metadata-file", f.metadataFile}} {
		if file.path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(file.path)); err != nil {
			return fmt.Errorf("--%s %q: the folder for it: %w", file.flag, file.path, err)
		}
		if fi, err := os.Stat(file.path); err == nil && fi.IsDir() {
			return fmt.Errorf("--%s %q: it is a directory, and should be a file", file.flag, file.path)
		}
	}
	return nil
}

// report writes what the flags want to know of the result.
func (c *cli) report(ctx context.Context, res *outcome, f *buildFlags) error {
	said := map[string]string{}
	for _, s := range res.Exporters {
		maps.Copy(said, s)
	}
	id := said[exptypes.ExporterImageConfigDigestKey]
	if id == "" {
		id = said[exptypes.ExporterImageDigestKey]
	}
	if f.iidFile != "" {
		if id == "" {
			return fmt.Errorf("--iidfile: the outputs have not said what the image's ID is")
		}
		if err := c.write(ctx, f.iidFile, []byte(id)); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if f.metadataFile != "" {
		known := metadata(said)
		if v, _ := c.env("BUILDX_METADATA_WARNINGS"); isTrue(v) && len(res.warnings) > 0 {
			known["buildx.build.warnings"] = res.warnings
		}
		if f.verify {
			known["tenon.verify"] = append([]verify.Step{}, res.Verified...)
		}
		dt, err := json.MarshalIndent(known, "", "  ")
		if err != nil {
			return err
		}
		if err := c.write(ctx, f.metadataFile, append(dt, '\n')); err != nil {
			return fmt.Errorf("--metadata-file: %w", err)
		}
	}
	if (f.quiet || f.progress == "quiet") && id != "" {
		fmt.Fprintln(c.text(), id)
	}
	return nil
}

// write writes a file for the caller, or to what is there and is none: a pipe, a device.
func (c *cli) write(ctx context.Context, path string, dt []byte) error {
	if st, err := os.Stat(path); err != nil || st.Mode().IsRegular() {
		return os.WriteFile(path, dt, 0o666&^os.FileMode(c.umask))
	}
	w, err := stream.OpenWrite(ctx, path)
	if err != nil {
		return err
	}
	_, err = w.Write(dt)
	return errors.Join(err, w.Close())
}

func isTrue(v string) bool {
	yes, err := strconv.ParseBool(v)
	return err == nil && yes
}

// metadata are the values of a response as JSON: those that are JSON themselves,
// plain or in base64, become part of it.
func metadata(said map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range said {
		out[k] = v
		for _, dt := range [][]byte{[]byte(v), fromBase64(v)} {
			if len(dt) > 0 && dt[0] == '{' && json.Valid(dt) {
				out[k] = json.RawMessage(dt)
				break
			}
		}
	}
	return out
}

func fromBase64(s string) []byte {
	dt, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return dt
}
