// Command frontend is a frontend that does what its attribute "do" says.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/appcontext"
)

func main() {
	if err := grpcclient.RunFromEnvironment(appcontext.Context(), build); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(ctx context.Context, c client.Client) (*client.Result, error) {
	switch do := c.BuildOpts().Opts["do"]; do {
	case "die":
		fmt.Fprintln(os.Stderr, "its last words")
		os.Exit(3)
	case "nothing":
		os.Exit(0)
	case "close":
		os.Stdin.Close()
		os.Stdout.Close()
		select {}
	case "hang":
		if err := c.Warn(ctx, "", "it hangs", client.WarnOpts{}); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case "host":
		ctr, err := c.NewContainer(ctx, client.NewContainerRequest{NetMode: pb.NetMode_HOST, Mounts: []client.Mount{{Dest: "/"}}})
		if err != nil {
			return nil, err
		}
		p, err := ctr.Start(ctx, client.StartRequest{Args: []string{"true"}})
		if err != nil {
			return nil, err
		}
		return nil, p.Wait()
	}
	def, err := llb.Scratch().File(llb.Mkfile("/out", 0o644, []byte(c.BuildOpts().Opts["text"]))).Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return c.Solve(ctx, client.SolveRequest{Definition: def.ToPB()})
}
