package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// TestConfigure checks what goes before what.
func TestConfigure(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("tenon/tenon.toml", "root = \"/file\"\nsnapshotter = \"native\"\n[registry.\"a.example\"]\nmirrors = [\"b.example\"]\n")
	c := &cli{env: environment("HOME", "/nowhere", "XDG_CONFIG_HOME", dir)}
	cfg, err := c.configure()
	if err != nil || cfg.Root != "/file" || cfg.Snapshotter != "native" || cfg.Registry["a.example"].Mirrors[0] != "b.example" {
		t.Fatalf("from a file: %+v, %v", cfg, err)
	}
	c.env = environment("XDG_CONFIG_HOME", dir, "TENON_ROOT", "/env", "TENON_SNAPSHOTTER", "overlayfs", "TENON_RUNTIME", "crun", "TENON_NETWORK", "none")
	cfg, err = c.configure()
	if err != nil || cfg.Root != "/env" || cfg.Snapshotter != "overlayfs" || cfg.Runtime.Binary != "crun" || cfg.Runtime.Network != "none" {
		t.Fatalf("from the environment: %+v, %v", cfg, err)
	}
	if opt := cfg.engine(); opt.Root != "/env" || opt.Runtime.Binary != "crun" || opt.Runtime.Network.Mode != "none" {
		t.Errorf("the engine gets %+v", opt)
	}
	c.flags.root = "flag"
	here, err := filepath.Abs("flag")
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = c.configure(); err != nil || cfg.Root != here {
		t.Fatalf("from a flag: %+v, %v", cfg, err)
	}
	c.flags.config = write("other.toml", "parallelism = 3\n")
	if cfg, err = c.configure(); err != nil || cfg.Parallelism != 3 || cfg.Snapshotter != "overlayfs" || cfg.Registry != nil {
		t.Fatalf("from a file that is named: %+v, %v", cfg, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.flags.config = ""
	if _, err = c.configure(); err != nil {
		t.Errorf("a file that nobody named is not there: %v", err)
	}
}

// TestRootInUserNamespace checks that a user who is root in a namespace of his own, by
// unshare -Urm, has the root of a user.
func TestRootInUserNamespace(t *testing.T) {
	testenv.Root(t)
	home, err := os.MkdirTemp("", "tenon-userns-") // t.TempDir is closed to other users
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, os.RemoveAll(home)) })
	const nobody = 65534
	check.OK(t, os.Chown(home, nobody, nobody))
	self := filepath.Join(home, "tenon")
	bin, err := os.ReadFile(os.Args[0])
	check.OK(t, err)
	check.OK(t, os.WriteFile(self, bin, 0o755))
	cmd := exec.Command(self, "du")
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.Args[0] = "tenon"
	ids := []syscall.SysProcIDMap{{HostID: nobody, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{NoSetGroups: true},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := &cli{env: environment("TENON_ROOT", "")}
	if root, err := c.defaultRoot(); err != nil || root != "/var/lib/tenon" {
		t.Errorf("root's root is %q, %v", root, err)
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add("root = \"x\"\n[registry.\"a\"]\nmirrors = [\"b\"]\n")
	f.Add("a = = 1")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "tenon.toml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = new(configuration).read(path, true) // it may fail, and never panic
	})
}
