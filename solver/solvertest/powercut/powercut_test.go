package powercut_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver/solvertest/powercut"
)

// The variables that make the test binary the program that is recorded.
const (
	programName = "POWERCUT_PROGRAM"
	programDir  = "POWERCUT_DIR"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(programName); name != "" {
		if err := programs[name].run(os.Getenv(programDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A program, and what can be left after it said "now".
type program struct {
	run    func(dir string) error
	states []string
}

var programs = map[string]program{
	"a file that is not synced": {
		func(dir string) error {
			f, err := os.Create(filepath.Join(dir, "new"))
			if err != nil {
				return err
			}
			_, err = f.WriteString("text")
			fmt.Println("now")
			return err
		},
		[]string{"old=old", `new= old=old`, "new=\x00\x00\x00\x00 old=old", "new=text old=old"},
	},
	"a file that is synced, and its name is not": {
		func(dir string) error {
			f, err := os.Create(filepath.Join(dir, "new"))
			if err != nil {
				return err
			}
			_, err = f.WriteString("text")
			err = errors.Join(err, f.Sync())
			fmt.Println("now")
			return err
		},
		[]string{"old=old", "new=text old=old"},
	},
	"a name that is synced, and the file is not": {
		func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "old"), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			if _, err := f.Read(make([]byte, 2)); err != nil {
				return err
			}
			_, err = f.WriteString("k")
			err = errors.Join(err, os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")), syncDir(dir))
			fmt.Println("now")
			return err
		},
		[]string{"new=old", "new=olk"},
	},
	"a file that takes the place of another": {
		func(dir string) error {
			f, err := os.Create(filepath.Join(dir, "tmp"))
			if err != nil {
				return err
			}
			_, err = f.WriteString("new")
			err = errors.Join(err, f.Sync(), syncDir(dir), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "old")))
			fmt.Println("now")
			return err
		},
		[]string{"old=new", "old=old tmp=new"},
	},
	"second names, and folders": {
		func(dir string) error {
			err := errors.Join(
				os.Mkdir(filepath.Join(dir, "d"), 0o700),
				os.Link(filepath.Join(dir, "old"), filepath.Join(dir, "d", "two")),
				os.Remove(filepath.Join(dir, "old")),
				syncDir(filepath.Join(dir, "d")),
			)
			fmt.Println("now")
			return err
		},
		[]string{"", "d/two=old", "d/two=old old=old", "old=old"},
	},
	"writes of sectors": {
		func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "old"), os.O_RDWR|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(strings.Repeat("x", 509) + "y")
			fmt.Println("now")
			return errors.Join(err, f.Close())
		},
		[]string{
			"old=old", "old=old" + strings.Repeat("x", 509) + "y", "old=old" + strings.Repeat("x", 509) + "\x00",
			"old=old" + strings.Repeat("\x00", 509) + "y", "old=old" + strings.Repeat("\x00", 510),
		},
	},
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// TestStates compares what can be left with what is known to be possible.
func TestStates(t *testing.T) {
	if _, err := exec.LookPath(powercut.Tool); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), programName+"="+name, programDir+"="+dir)
			log, err := powercut.Record(cmd, dir)
			if err != nil {
				t.Fatal(err)
			}
			var states []string
			lefts := t.TempDir()
			err = log.Cuts(func(d *powercut.Disk) error {
				if !slices.Equal(d.Said(), []string{"now"}) {
					return nil
				}
				rng := rand.New(rand.NewPCG(1, 1))
				for range 60 {
					left := filepath.Join(lefts, fmt.Sprint(len(states)))
					if err := d.Leave(left, powercut.Some(rng)); err != nil {
						return err
					}
					states = append(states, describe(t, left))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(states)
			states = slices.Compact(states)
			slices.Sort(p.states)
			if !slices.Equal(states, p.states) {
				t.Errorf("got\n%q\nwant\n%q", states, p.states)
			}
		})
	}
}

// describe returns the files in a folder, and what is in them.
func describe(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		dt, err := os.ReadFile(filepath.Join(dir, name))
		all = append(all, name+"="+string(dt))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}
