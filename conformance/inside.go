package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// inside is the word by which the command runs itself in new namespaces.
const inside = "inside"

// exampleAddress is example.com's there; it is of the range for documents.
const exampleAddress = "198.51.100.1"

// runInside makes the namespaces ready, runs a program in them, and returns its exit code:
// NETWORK SOURCE PROGRAM ARGS...
func runInside(args []string) int {
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("proc", "/proc", "proc", 0, "")
	}
	if err == nil && args[0] == "true" {
		err = network(args[1])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		return 1
	}
	cmd := exec.Command(args[2], args[3:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		return 1
	}
	return 0
}

// network makes a network for the tests of CNI: the plug-ins and their configuration lie
// over the machine's directories, and a server answers as example.com.
func network(source string) error {
	// Tests look for an address of the machine that is not of its loopback.
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "example", "type", "veth", "peer", "name", "nobody"},
		{"link", "set", "example", "up"}, {"link", "set", "nobody", "up"},
		{"addr", "add", exampleAddress + "/24", "dev", "example"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, out)
		}
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/opt", "/var"} {
		upper, work := "/run/over"+dir, "/run/work"+dir
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		if err := syscall.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work); err != nil {
			return fmt.Errorf("laying something over %s: %w", dir, err)
		}
	}
	if err := errors.Join(
		copyInto("/etc/buildkit", filepath.Join(source, "hack/fixtures/cni.json"), filepath.Join(source, "hack/fixtures/dns-cni.conflist")),
		copyAll("/opt/cni/bin", "/usr/lib/cni/*"),
		addLine("/etc/hosts", exampleAddress+" example.com"),
	); err != nil {
		return err
	}
	l, err := net.Listen("tcp", exampleAddress+":80")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "this stands in for %q\n", r.Host)
	})}
	go s.Serve(l) //nolint:errcheck // it ends with the process
	return nil
}

func copyAll(dir, pattern string) error {
	files, err := filepath.Glob(pattern)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no %s: install CNI's plug-ins", pattern)
	}
	return errors.Join(err, copyInto(dir, files...))
}

func copyInto(dir string, files ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		dt, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), dt, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func addLine(file, line string) error {
	dt, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(dt, line+"\n"...), 0o644)
}
