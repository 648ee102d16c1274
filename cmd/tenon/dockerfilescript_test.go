package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// script changes the files of a case. A line is a command and what it is about: a
// path (below ctx or more), then text or another path; in quotes they are as in Go.
//
//	write PATH TEXT     a file of TEXT and an end of line; "" for an empty file
//	keep PATH TEXT      the same, leaving size (if TEXT is as long) and time as they were
//	append PATH TEXT    a further line
//	sub PATH OLD NEW    other text in a file
//	mkdir, rm, touch    a folder; a file or tree; another time
//	mv, cp, ln          of one path to another, which for ln is what is linked to
//	symlink PATH TO     TO is as it is
//	chmod PATH MODE     in octal
//	xattr PATH KEY VALUE
//	tar PATH FOLDER     an archive, compressed as its name says
//	commit FOLDER       in a git repository, which more/git serves
//	tag FOLDER NAME     its last commit
func (b *bench) script(list []string) {
	b.t.Helper()
	for _, line := range list {
		args := words(line)
		if len(args) < 2 {
			b.t.Fatalf("%q: a command and a path", line)
		}
		args = append(args, "", "")
		if err := b.command(args[0], filepath.Join(b.dir, args[1]), b.site.in(args[2]), b.site.in(args[3])); err != nil {
			b.t.Fatalf("%s: %v", line, err)
		}
	}
}

func (b *bench) command(what, path, arg, more string) error {
	other := filepath.Join(b.dir, arg)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch what {
	case "write", "keep":
		return b.write(path, arg, what == "keep")
	case "append":
		dt, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(string(dt)+arg+"\n"), 0o644)
	case "sub":
		dt, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(dt), arg) {
			b.t.Fatalf("%s has no %q", path, arg)
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(dt), arg, more)), 0o644)
	case "mkdir":
		return os.MkdirAll(path, 0o755)
	case "rm":
		return os.RemoveAll(path)
	case "touch":
		return b.touch(path)
	case "mv":
		return os.Rename(path, other)
	case "ln":
		return os.Link(other, path)
	case "symlink":
		return os.Symlink(arg, path)
	case "chmod":
		mode, err := strconv.ParseUint(arg, 8, 32)
		if err != nil {
			return err
		}
		return unix.Chmod(path, uint32(mode)) // os.Chmod has its own bits
	case "chown":
		id, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		return os.Lchown(path, id, id)
	case "xattr":
		return unix.Lsetxattr(path, arg, []byte(more), 0)
	case "tar":
		return b.run(b.dir, "tar", "--sort=name", "--mtime=@1000000000", "-caf", path, "-C", other, ".")
	case "commit":
		return b.commit(path)
	case "tag":
		return b.run(path, "git", "tag", arg)
	}
	b.t.Fatalf("there is no command %q", what)
	return nil
}

func (b *bench) write(path, text string, keep bool) error {
	if text != "" {
		text += "\n"
	}
	st, err := os.Stat(path)
	if keep && err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	if keep {
		return os.Chtimes(path, st.ModTime(), st.ModTime())
	}
	return nil
}

// touch gives a file a time of its own; of a link, the link's.
func (b *bench) touch(path string) error {
	b.time++
	ts := unix.NsecToTimespec(b.time * int64(time.Second))
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// touchAll touches everything a build reads, but for what a server serves with its time:
// that is a part of what it says.
func (b *bench) touchAll() {
	for _, top := range []string{"ctx", "more"} {
		noError(b.t, filepath.WalkDir(filepath.Join(b.dir, top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || strings.HasPrefix(path, filepath.Join(b.dir, "more/http")) {
				return err
			}
			return b.touch(path)
		}))
	}
}

// commit commits a folder's files. The same files make the same commit.
func (b *bench) commit(folder string) error {
	repo := filepath.Join(b.dir, "more/git", filepath.Base(folder)+".git")
	if _, err := os.Stat(repo); err != nil {
		if err := b.run(folder, "git", "init", "-q", "-b", "main", "--separate-git-dir", repo); err != nil {
			return err
		}
	}
	if err := b.run(folder, "git", "add", "-A"); err != nil {
		return err
	}
	return b.run(folder, "git", "commit", "-q", "-m", "change")
}

func (b *bench) run(dir string, args ...string) error {
	cmd := exec.CommandContext(b.t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2001-09-09T01:46:40Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2001-09-09T01:46:40Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Logf("%s: %s", strings.Join(args, " "), out)
	}
	return err
}

// words splits a line at spaces; a word in quotes is as in Go.
func words(line string) (out []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		word, rest, _ := strings.Cut(line, " ")
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			word, _ = strconv.Unquote(quoted)
			rest = line[len(quoted):]
		}
		out, line = append(out, word), rest
	}
	return out
}
