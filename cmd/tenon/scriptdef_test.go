package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
	"github.com/moby/buildkit/solver/pb"
)

// scriptDefinitions are the definitions that llb-def writes, by name: together they
// have each kind of source, op and mount. The base is the OCI layout "base".
var scriptDefinitions = map[string]func(base llb.State, arg string) llb.State{
	"local": func(_ llb.State, _ string) llb.State {
		return llb.Scratch().File(llb.Copy(llb.Local("src"), "/f", "/copied"))
	},
	"layout": func(base llb.State, _ string) llb.State { return llb.Scratch().File(llb.Copy(base, "/second", "/")) },
	"image": func(_ llb.State, arg string) llb.State {
		return llb.Scratch().File(llb.Copy(llb.Image(arg), "/second", "/"))
	},
	"git":  func(_ llb.State, arg string) llb.State { return llb.Git(arg, "") },
	"http": func(_ llb.State, arg string) llb.State { return llb.HTTP(arg, llb.Filename("got")) },
	"files": func(_ llb.State, _ string) llb.State {
		made := llb.Scratch().File(llb.Mkdir("/d/e", 0o750, llb.WithParents(true)).
			Mkfile("/d/f", 0o640, []byte("f\n")).Mkfile("/d/gone", 0o640, nil).Symlink("/d/f", "/d/l").Rm("/d/gone"))
		return llb.Scratch().File(llb.Copy(made, "/d", "/", &llb.CopyInfo{CreateDestPath: true}))
	},
	"exec": func(base llb.State, _ string) llb.State {
		run := base.Run(
			llb.Shlex(`sh -ec 'cat /in/f > /out/f; echo c >> /cache/c; wc -l < /cache/c > /out/lines; cat /secret > /out/secret; touch /t/x; echo $TOK > /out/env; test ! -w /in/f || echo rw > /dev/null'`),
			llb.AddMount("/in", llb.Local("src"), llb.Readonly),
			llb.AddMount("/cache", llb.Scratch(), llb.AsPersistentCacheDir("scripts", llb.CacheMountLocked)),
			llb.AddMount("/t", llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(1<<20))),
			llb.AddSecret("/secret", llb.SecretID("tok")), llb.AddSecret("TOK", llb.SecretID("tok"), llb.SecretAsEnv(true)),
			llb.Network(pb.NetMode_NONE))
		return run.AddMount("/out", llb.Scratch())
	},
	"ssh": func(base llb.State, _ string) llb.State {
		run := base.Run(llb.Shlex(`sh -ec 'test -S $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK > /out/sock'`), llb.AddSSHSocket(llb.SSHID("default")))
		return run.AddMount("/out", llb.Scratch())
	},
	"merge": func(_ llb.State, _ string) llb.State {
		return llb.Merge([]llb.State{mkfile("a", "1"), mkfile("b", "2"), mkfile("a", "3")})
	},
	"diff": func(base llb.State, _ string) llb.State {
		return llb.Diff(base, base.Run(llb.Shlex("sh -c 'echo new > /new; rm /second'")).Root())
	},
	"build": func(_ llb.State, _ string) llb.State {
		def, err := mkfile("built", "by a definition").Marshal(context.Background())
		if err != nil {
			panic(err)
		}
		dt, err := def.ToPB().MarshalVT()
		if err != nil {
			panic(err)
		}
		return llb.Scratch().File(llb.Mkfile("/buildkit.llb.definition", 0o644, dt)).With(llbbuild.Build())
	},
	"insecure": func(base llb.State, _ string) llb.State {
		return base.Run(llb.Shlex("echo x"), llb.Security(pb.SecurityMode_INSECURE)).Root()
	},
	"fails": func(base llb.State, _ string) llb.State {
		return base.Run(llb.Shlex("sh -c 'echo why; exit 7'"), llb.WithCustomName("the step that fails")).Root()
	},
}

func mkfile(name, text string) llb.State {
	return llb.Scratch().File(llb.Mkfile("/"+name, 0o644, []byte(text+"\n")))
}

// scriptDefinition is llb-def KIND [ARG]: it writes a definition to standard output,
// as buildctl takes it.
func scriptDefinition() {
	args := append(os.Args[1:], "", "")
	define, ok := scriptDefinitions[args[0]]
	if !ok {
		fmt.Fprintf(os.Stderr, "llb-def %q: there are %s\n", args[0], strings.Join(sortedKeys(scriptDefinitions), ", "))
		os.Exit(2)
	}
	base := llb.OCILayout("base@"+os.Getenv("BASE_DIGEST"), llb.OCIStore("", "base"))
	def, err := define(base, args[1]).Marshal(context.Background(), llb.LinuxAmd64)
	if err == nil {
		err = llb.WriteTo(def, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
