package gateway

import (
	"context"
	"errors"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NewContainer makes a container by a name that the frontend chose, in which ExecProcess
// runs processes.
func (b *Bridge) NewContainer(ctx context.Context, req *gwpb.NewContainerRequest) (*gwpb.NewContainerResponse, error) {
	in := gwclient.NewContainerRequest{
		Hostname: req.Hostname, NetMode: req.Network, ExtraHosts: req.ExtraHosts,
		Platform: req.Platform, Constraints: req.Constraints,
	}
	rooted := false
	for i, m := range req.Mounts {
		if m == nil {
			return nil, status.Errorf(codes.InvalidArgument, "mount %d is missing", i)
		}
		rooted = rooted || m.Dest == pb.RootMount
		ref, err := b.ref(m.ResultID)
		if err != nil {
			return nil, err
		}
		in.Mounts = append(in.Mounts, gwclient.Mount{
			Dest: m.Dest, Selector: m.Selector, Ref: ref, Readonly: m.Readonly, MountType: m.MountType,
			CacheOpt: m.CacheOpt, SecretOpt: m.SecretOpt, SSHOpt: m.SSHOpt,
		})
	}
	if !rooted {
		return nil, status.Error(codes.InvalidArgument, "root mount is required")
	}
	ctr, err := b.client.NewContainer(ctx, in)
	if err != nil {
		return nil, b.wire(err)
	}
	if err := b.keepContainer(req.ContainerID, ctr); err != nil {
		return nil, errors.Join(err, ctr.Release(context.WithoutCancel(ctx)))
	}
	return &gwpb.NewContainerResponse{}, nil
}

func (b *Bridge) keepContainer(id string, ctr gwclient.Container) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.containers[id]; ok {
		return status.Errorf(codes.AlreadyExists, "Container %s already exists", id)
	}
	if b.closed {
		return status.Error(codes.Unavailable, "the frontend has ended")
	}
	b.containers[id] = ctr
	return nil
}

// container returns the one of a name.
func (b *Bridge) container(id string) (gwclient.Container, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctr, ok := b.containers[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "container %q previously released or not created", id)
	}
	return ctr, nil
}

// ReleaseContainer kills what runs in a container, and gives it up.
func (b *Bridge) ReleaseContainer(ctx context.Context, req *gwpb.ReleaseContainerRequest) (*gwpb.ReleaseContainerResponse, error) {
	ctr, err := b.container(req.ContainerID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	delete(b.containers, req.ContainerID)
	b.mu.Unlock()
	if err := ctr.Release(ctx); err != nil {
		return nil, err
	}
	return &gwpb.ReleaseContainerResponse{}, nil
}

// Close releases the containers that the frontend has not. Nothing is served afterwards.
func (b *Bridge) Close(ctx context.Context) error {
	b.mu.Lock()
	containers := b.containers
	b.containers, b.closed = nil, true
	b.mu.Unlock()
	var errs []error
	for _, ctr := range containers {
		// That something still ran is the frontend's affair.
		if err := ctr.Release(context.WithoutCancel(ctx)); !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ReadFileContainer reads a file of a container's mount.
func (b *Bridge) ReadFileContainer(ctx context.Context, req *gwpb.ReadFileRequest) (*gwpb.ReadFileResponse, error) {
	ctr, err := b.container(req.Ref)
	if err != nil {
		return nil, err
	}
	dt, err := ctr.ReadFile(ctx, gwclient.ReadContainerRequest{ReadRequest: readRequest(req), MountIndex: int(req.MountIndex)})
	if err != nil {
		return nil, err
	}
	return &gwpb.ReadFileResponse{Data: dt}, nil
}

// ReadDirContainer lists a directory of a container's mount.
func (b *Bridge) ReadDirContainer(ctx context.Context, req *gwpb.ReadDirRequest) (*gwpb.ReadDirResponse, error) {
	ctr, err := b.container(req.Ref)
	if err != nil {
		return nil, err
	}
	list, err := ctr.ReadDir(ctx, gwclient.ReadDirContainerRequest{
		ReadDirRequest: gwclient.ReadDirRequest{Path: req.DirPath, IncludePattern: req.IncludePattern}, MountIndex: int(req.MountIndex),
	})
	if err != nil {
		return nil, err
	}
	return &gwpb.ReadDirResponse{Entries: list}, nil
}

// StatFileContainer tells about a path of a container's mount.
func (b *Bridge) StatFileContainer(ctx context.Context, req *gwpb.StatFileRequest) (*gwpb.StatFileResponse, error) {
	ctr, err := b.container(req.Ref)
	if err != nil {
		return nil, err
	}
	st, err := ctr.StatFile(ctx, gwclient.StatContainerRequest{StatRequest: gwclient.StatRequest{Path: req.Path}, MountIndex: int(req.MountIndex)})
	if err != nil {
		return nil, err
	}
	return &gwpb.StatFileResponse{Stat: st}, nil
}

func readRequest(req *gwpb.ReadFileRequest) gwclient.ReadRequest {
	in := gwclient.ReadRequest{Filename: req.FilePath}
	if r := req.Range; r != nil {
		in.Range = &gwclient.FileRange{Offset: int(r.Offset), Length: int(r.Length)}
	}
	return in
}
