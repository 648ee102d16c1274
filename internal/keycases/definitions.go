package keycases

import (
	"context"
	"os"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"
)

// Definitions are builds that are no Dockerfile. What they begin with is looked at by a
// step on top, since no cache has the sources themselves.
var Definitions = map[string]func(w *World) (llb.State, error){
	"image-by-digest":  on(func(w *World) llb.State { return w.image("data@" + w.words["data"]) }),
	"image-by-tag":     on(func(w *World) llb.State { return w.image("data:latest") }),
	"image-limit":      on(func(w *World) llb.State { return w.image("data:latest", llb.WithLayerLimit(1)) }),
	"image-of-index":   on(func(w *World) llb.State { return w.image("multi:latest") }),
	"image-other-arch": on(func(w *World) llb.State { return w.image("multi:latest", llb.LinuxArm64) }),
	"image-blob": on(func(w *World) llb.State {
		return llb.ImageBlob(w.registry + "/data@" + w.blob())
	}),
	"image-blob-named": on(func(w *World) llb.State {
		return llb.ImageBlob(w.registry+"/data@"+w.blob(), llb.Filename("layer.tar"), llb.Chmod(0o640), llb.Chown(1, 2))
	}),
	"oci-layout": on(func(w *World) llb.State {
		return llb.OCILayout("any/name@"+w.words["data"], llb.OCIStore("", "layout"))
	}),
	"oci-layout-limit": on(func(w *World) llb.State {
		return llb.OCILayout("any/name@"+w.words["data"], llb.OCIStore("", "layout"), llb.OCILayerLimit(1))
	}),
	"oci-layout-blob": on(func(w *World) llb.State {
		return llb.OCILayoutBlob("any/name@"+w.blob(), llb.ImageBlobOCIStore("", "layout"))
	}),

	"http":          on(func(w *World) llb.State { return llb.HTTP(w.site + "/file.txt") }),
	"http-checksum": on(func(w *World) llb.State { return llb.HTTP(w.site+"/file.txt", llb.Checksum(siteFile)) }),
	"http-named":    on(func(w *World) llb.State { return llb.HTTP(w.site + "/named") }),
	"http-no-time":  on(func(w *World) llb.State { return llb.HTTP(w.site + "/plain") }),
	"http-owner": on(func(w *World) llb.State {
		return llb.HTTP(w.site+"/dir/file.txt", llb.Filename("x"), llb.Chmod(0o755), llb.Chown(3, 4))
	}),
	"http-header": on(func(w *World) llb.State {
		return llb.HTTP(w.site+"/file.txt", llb.Header(llb.HTTPHeader{Accept: "text/plain"}))
	}),

	"git":             on(func(w *World) llb.State { return llb.Git(w.repo(), "") }),
	"git-branch":      on(func(w *World) llb.State { return llb.Git(w.repo(), "main") }),
	"git-commit":      on(func(w *World) llb.State { return llb.Git(w.repo(), w.words["commit"]) }),
	"git-tag":         on(func(w *World) llb.State { return llb.Git(w.repo(), "v1") }),
	"git-annotated":   on(func(w *World) llb.State { return llb.Git(w.repo(), "v2") }),
	"git-subdir":      on(func(w *World) llb.State { return llb.Git(w.repo(), "main:sub") }),
	"git-mtime":       on(func(w *World) llb.State { return llb.Git(w.repo(), "main", llb.GitMTimeCommit()) }),
	"git-modules":     onFile("/lib/lib.txt", func(w *World) llb.State { return llb.Git(w.site+"/git/mods.git", "main") }),
	"git-no-modules":  on(func(w *World) llb.State { return llb.Git(w.site+"/git/mods.git", "main", llb.GitSkipSubmodules()) }),
	"git-keep":        onFile("/f", func(w *World) llb.State { return llb.Git(w.repo(), "main", llb.KeepGitDir()) }),
	"git-keep-tag":    onFile("/f", func(w *World) llb.State { return llb.Git(w.repo(), "v2", llb.KeepGitDir()) }),
	"git-keep-subdir": onFile("/g", func(w *World) llb.State { return llb.Git(w.repo(), "main:sub", llb.KeepGitDir()) }),

	"local": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(llb.Local("layout", llb.FollowPaths([]string{"oci-layout"})), "/oci-layout", "/")), nil
	},
	"local-whole": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(llb.Local("layout", llb.IncludePatterns([]string{"oci*"})), "/", "/all/")), nil
	},
	"local-mounted": func(w *World) (llb.State, error) {
		l := llb.Local("layout", llb.ExcludePatterns([]string{"blobs", "index.json"}))
		return w.run("test -f /m/oci-layout", llb.AddMount("/m", l, llb.Readonly)), nil
	},

	"merge": func(w *World) (llb.State, error) {
		return touch(llb.Merge([]llb.State{w.data(), mkfile("m"), mkfile("n")})), nil
	},
	"merge-same": func(w *World) (llb.State, error) {
		return touch(llb.Merge([]llb.State{mkfile("m"), w.data(), mkfile("m")})), nil
	},
	"diff":              func(w *World) (llb.State, error) { return touch(llb.Diff(w.data(), touch(w.data()))), nil },
	"diff-from-scratch": func(w *World) (llb.State, error) { return touch(llb.Diff(llb.Scratch(), touch(w.data()))), nil },
	"build":             build,
	"file-ops": func(w *World) (llb.State, error) {
		return w.data().File(llb.Mkdir("/new/deep", 0o750, llb.WithParents(true), llb.WithUIDGID(1, 2)).
			Mkfile("/new/file", 0o600, []byte("x"), llb.WithCreatedTime(when)).
			Symlink("/new/file", "/new/link").
			Rm("/d/b").
			Rm("/d/*", llb.WithAllowWildcard(true))), nil
	},
	"file-outputs": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Mkfile("/a", 0o644, []byte("a")).Copy(mkfile("b"), "/b", "/c").Mkdir("/d", 0o755)), nil
	},
	"copy-owner": func(w *World) (llb.State, error) {
		return w.image("base:latest").File(llb.Copy(w.data(), "/f", "/owned", llb.WithUser("app:app"))), nil
	},
	"copy-patterns": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(w.data(), "/d", "/to", &llb.CopyInfo{
			CopyDirContentsOnly: true, CreateDestPath: true, IncludePatterns: []string{"a", "sub/*"}, ExcludePatterns: []string{"b"},
		})), nil
	},
	"copy-patterns-of-root": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(w.data(), "/", "/to", &llb.CopyInfo{
			CopyDirContentsOnly: true, CreateDestPath: true, ExcludePatterns: []string{"**/b"}, FollowSymlinks: true,
		})), nil
	},
	"copy-wildcards": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(w.data(), "/d/*", "/to/", &llb.CopyInfo{AllowWildcard: true, CreateDestPath: true}).
			Copy(w.data(), "/[fl]", "/too/", &llb.CopyInfo{AllowWildcard: true, CreateDestPath: true, FollowSymlinks: true})), nil
	},
	"copy-through-link": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(w.data(), "/l/a", "/a").Copy(w.data(), "/l", "/l", &llb.CopyInfo{FollowSymlinks: true, CopyDirContentsOnly: true})), nil
	},
	"copy-other-order": func(w *World) (llb.State, error) {
		return llb.Scratch().File(llb.Copy(w.data(), "/d/sub/c", "/1").Copy(w.data(), "/f", "/2").Copy(w.data(), "/d/a", "/3")), nil
	},

	"exec-mounts": func(w *World) (llb.State, error) {
		return w.run("test -f /ro/f && test -f /sel/a && test -d /t && test -d /c && echo x > /rw/new",
			llb.AddMount("/ro", w.data(), llb.Readonly),
			llb.AddMount("/sel", w.data(), llb.SourcePath("/d"), llb.Readonly),
			llb.AddMount("/rw", llb.Scratch()),
			llb.AddMount("/t", llb.Scratch(), llb.Tmpfs()),
			llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("id", llb.CacheMountLocked)),
			llb.AddSecret("/s", llb.SecretID("none"), llb.SecretOptional),
			llb.AddSSHSocket(llb.SSHOptional)), nil
	},
	"exec-mount-kept": func(w *World) (llb.State, error) {
		st := w.image("base:latest").Run(llb.Shlex("touch /m/new"), llb.AddMount("/m", w.data()))
		return llb.Scratch().File(llb.Copy(st.GetMount("/m"), "/new", "/")), nil
	},
	"exec-part-kept": func(w *World) (llb.State, error) {
		st := w.image("base:latest").Run(llb.Shlex("touch /m/new"), llb.AddMount("/m", w.data(), llb.SourcePath("/d")))
		return llb.Scratch().File(llb.Copy(st.GetMount("/m"), "/d/new", "/")), nil
	},
	"exec-meta": func(w *World) (llb.State, error) {
		return w.run("test $A = 1", llb.AddEnv("A", "1"), llb.Dir("/srv"), llb.User("app"), llb.AddExtraHost("h", []byte{10, 0, 0, 1}),
			llb.WithProxy(llb.ProxyEnv{HTTPProxy: "http://none.invalid"}), llb.Network(llb.NetModeNone)), nil
	},
	"exec-no-root": func(w *World) (llb.State, error) {
		st := llb.Scratch().Run(llb.Args([]string{"/b/bin/busybox", "true"}), llb.AddMount("/b", w.image("base:latest"), llb.Readonly))
		return touch(st.Root()), nil
	},
}

// on is what is made of a source: a file in a tree on it, and a copy of it.
func on(src func(w *World) llb.State) func(*World) (llb.State, error) {
	return func(w *World) (llb.State, error) {
		st := src(w)
		return touch(st).File(llb.Copy(st, "/", "/copy", &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true})), nil
	}
}

// onFile is on, with a copy of no more than a file: the .git of a repository
// or a submodule is not the same each time.
func onFile(path string, src func(w *World) llb.State) func(*World) (llb.State, error) {
	return func(w *World) (llb.State, error) {
		st := src(w)
		return touch(st).File(llb.Copy(st, path, "/copy")), nil
	}
}

func touch(st llb.State) llb.State { return st.File(llb.Mkfile("/touched", 0o644, []byte("x"))) }

func mkfile(name string) llb.State {
	return llb.Scratch().File(llb.Mkfile("/"+name, 0o644, []byte(name)))
}

func (w *World) image(ref string, opts ...llb.ImageOption) llb.State {
	return llb.Image(w.registry+"/"+ref, opts...)
}

func (w *World) data() llb.State { return w.image("data:latest") }

func (w *World) repo() string { return w.site + "/git/repo.git" }

// blob is the digest of a blob that the registry and the layout have: data's manifest is
// none of the registry's blobs, so it is its configuration.
func (w *World) blob() string { return w.words["config"] }

func (w *World) run(cmd string, opts ...llb.RunOption) llb.State {
	return w.image("base:latest").Run(append([]llb.RunOption{llb.Args([]string{"/bin/sh", "-c", cmd})}, opts...)...).Root()
}

var ctx = context.Background() // for what never waits

// build builds a definition that is a file.
func build(*World) (llb.State, error) {
	def, err := mkfile("inner").Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return llb.State{}, err
	}
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(def.ToPB())
	if err != nil {
		return llb.State{}, err
	}
	st := llb.Scratch().File(llb.Mkfile("/"+pb.LLBDefaultDefinitionFile, os.FileMode(0o644), dt))
	return st.With(llbbuild.Build()), nil
}
