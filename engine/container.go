package engine

import (
	"context"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/emulation"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/store"
)

// newContainer makes a container that a frontend runs processes in.
func (b *build) newContainer(ctx context.Context, req gwclient.NewContainerRequest, trees []*store.Ref) (frontend.Container, error) {
	if p := req.Platform; p != nil && p.Architecture != "" {
		if err := emulation.CheckName(p.Spec()); err != nil {
			return nil, err
		}
	}
	mounts := make([]*pb.Mount, len(req.Mounts))
	for i, m := range req.Mounts {
		mounts[i] = &pb.Mount{
			Dest: m.Dest, Selector: m.Selector, Readonly: m.Readonly, MountType: m.MountType,
			CacheOpt: m.CacheOpt, SecretOpt: m.SecretOpt, SSHOpt: m.SSHOpt,
		}
	}
	deps := b.engine.ops.Exec()
	deps.Proxy = b.proxy.ofContainers()
	c, err := execop.NewContainer(b.job.Context(ctx), deps, execop.ContainerOptions{
		Mounts: mounts, Trees: trees, Hostname: req.Hostname, Network: req.NetMode, ExtraHosts: req.ExtraHosts,
		Platform: req.Platform, Allowed: b.allowed,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// keepLeft has the build keep what failed steps leave.
func (b *build) keepLeft() {
	b.keeping.Do(func() { b.job.SetValue(failed.Key, &b.failed) })
}
