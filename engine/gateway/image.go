package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// ImageFrontend is the name of the frontend that runs another one, which is an image.
const ImageFrontend = "gateway.v0"

// builtin is the frontend that can be named where an image can.
const builtin = "dockerfile.v0"

// Images says which images may be frontends.
type Images struct {
	// Allowed are the repositories that they may come from; nil stands for all.
	Allowed []string
}

// Frontend runs the image that the attribute "source" names as a frontend: its process
// speaks to a Bridge by its standard input and output.
func (i Images) Frontend(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
	own, ok := c.(Client)
	if !ok {
		return nil, errors.New("the frontend's client cannot be lent to another process")
	}
	opts := c.BuildOpts().Opts
	source := opts["source"]
	switch {
	case opts["gateway-devel"] != "":
		return nil, errors.New("development gateway is no longer supported")
	case source == "":
		return nil, errors.New("no source specified for gateway")
	case source == builtin && !named(opts, builtin):
		opts = maps.Clone(opts)
		delete(opts, "source")
		return c.Solve(ctx, gwclient.SolveRequest{Frontend: builtin, FrontendOpt: opts, FrontendInputs: own.InputDefinitions()})
	}
	if err := i.allowed(source); err != nil {
		return nil, err
	}
	img, err := find(ctx, c, source)
	if err != nil {
		return nil, err
	}
	if err := img.check(opts, own.InputDefinitions()); err != nil {
		return nil, err
	}
	return run(ctx, own, img)
}

// named is whether a build is given a context of a name.
func named(opts map[string]string, name string) bool {
	for k := range opts {
		if k == "context:"+name || strings.HasPrefix(k, "context:"+name+"::") {
			return true
		}
	}
	return false
}

func (i Images) allowed(source string) error {
	if i.Allowed == nil {
		return nil
	}
	name, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return err
	}
	for _, a := range i.Allowed {
		if repo, err := reference.ParseNormalizedNamed(a); err == nil && reference.TrimNamed(repo).Name() == name.Name() {
			return nil
		}
	}
	return fmt.Errorf("'%s' is not an allowed gateway source: the configuration lists those that are", source)
}

// image is a frontend that has been found.
type image struct {
	name   string
	digest digest.Digest
	config dockerspec.DockerOCIImage
	def    *pb.Definition
	tree   gwclient.Reference
}

// find finds an image: a context of the build of that name, or that of a registry.
func find(ctx context.Context, c gwclient.Client, source string) (*image, error) {
	img := &image{name: source}
	st, err := img.context(ctx, c)
	if err == nil && st == nil {
		st, err = img.pull(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	img.def = def.ToPB()
	res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: img.def})
	if err != nil {
		return nil, err
	}
	if img.tree, err = res.SingleRef(); err != nil {
		return nil, err
	}
	if img.tree == nil {
		return nil, fmt.Errorf("the frontend %s is empty", source)
	}
	return img, nil
}

// context is the build's context of the image's name; nil if there is none.
func (img *image) context(ctx context.Context, c gwclient.Client) (*llb.State, error) {
	dc, err := dockerui.NewClient(c)
	if err != nil {
		return nil, err
	}
	nc, err := dc.NamedContext(img.name, dockerui.ContextOpt{CaptureDigest: &img.digest})
	if err != nil || nc == nil {
		return nil, err
	}
	st, config, err := nc.Load(ctx)
	if config != nil {
		img.config = *config
	}
	return st, err
}

// pull resolves the image's name at a registry.
func (img *image) pull(ctx context.Context, c gwclient.Client) (*llb.State, error) {
	name, err := reference.ParseNormalizedNamed(img.name)
	if err != nil {
		return nil, fmt.Errorf("the frontend %q is not the name of an image: %w", img.name, err)
	}
	ref, dgst, config, err := c.ResolveImageConfig(ctx, reference.TagNameOnly(name).String(), sourceresolver.Opt{})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(config, &img.config); err != nil {
		return nil, fmt.Errorf("the configuration of the frontend %s: %w", img.name, err)
	}
	img.digest = dgst
	if name, err = reference.ParseNormalizedNamed(ref); err != nil {
		return nil, err
	}
	if dgst != "" {
		if name, err = reference.WithDigest(name, dgst); err != nil {
			return nil, err
		}
	}
	st := llb.Image(name.String(), recordType{}, llb.WithCustomName("[frontend] "+img.name))
	return &st, nil
}

// recordType marks what is kept of an image as a frontend's.
type recordType struct{}

// SetImageOption implements llb.ImageOption.
func (recordType) SetImageOption(i *llb.ImageInfo) { i.RecordType = "frontend" }

// check refuses what the frontend says that it cannot do.
func (img *image) check(opts map[string]string, inputs map[string]*pb.Definition) error {
	const label, inputsCap = "moby.buildkit.frontend.caps", "moby.buildkit.frontend.inputs"
	has, wanted := capsOf(img.config.Config.Labels[label]), capsOf(opts["frontend.caps"])
	if supportInputs[img.digest] {
		has = append(has, inputsCap)
	}
	if len(inputs) > 0 {
		wanted = append(wanted, inputsCap)
	}
	for _, c := range wanted {
		if !slices.Contains(has, c) {
			return grpcerrors.WrapCode(errdefs.NewUnsupportedFrontendCapError(c), codes.Unimplemented)
		}
	}
	return nil
}

// supportInputs are images that take inputs and do not say so: docker/dockerfile 1.1.6 and
// 1.1.7, and 1.1.6-experimental and 1.1.7-experimental.
var supportInputs = map[digest.Digest]bool{
	"sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d": true,
	"sha256:080bd74d8778f83e7b670de193362d8c593c8b14f5c8fb919d28ee8feda0d069": true,
	"sha256:60543a9d92b92af5088fb2938fb09b2072684af8384399e153e137fe081f8ab4": true,
	"sha256:de85b2f3a3e8a2f7fe48e8e84a65f6fdd5cd5183afa6412fff9caa6871649c44": true,
}

// capsOf are the names in a list of capabilities, without what is said of them.
func capsOf(list string) (out []string) {
	for c := range strings.SplitSeq(list, ",") {
		if name, _, _ := strings.Cut(c, "+"); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// process says how the frontend is run, with attributes that are its own.
func (img *image) process(o gwclient.BuildOpts) (gwclient.StartRequest, error) {
	req := gwclient.StartRequest{Args: []string{"/run"}, Cwd: "/", Env: slices.Clone(img.config.Config.Env), RemoveMountStubsRecursive: true}
	if e := img.config.Config.Entrypoint; e != nil {
		req.Args = e
	}
	if d := img.config.Config.WorkingDir; d != "" {
		req.Cwd = d
	}
	for i, k := range slices.Sorted(maps.Keys(o.Opts)) {
		req.Env = append(req.Env, fmt.Sprintf("BUILDKIT_FRONTEND_OPT_%d=%s=%s", i, k, o.Opts[k]))
	}
	workers, err := json.Marshal(o.Workers)
	if err != nil {
		return req, err
	}
	req.Env = append(req.Env, "BUILDKIT_SESSION_ID="+o.SessionID, "BUILDKIT_WORKERS="+string(workers), "BUILDKIT_EXPORTEDPRODUCT="+o.Product)
	return req, nil
}

// container is what the frontend is run in.
func (img *image) container(ctx context.Context, c gwclient.Client) (gwclient.Container, error) {
	req := gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: pb.RootMount, Ref: img.tree}}}
	// The program itself may be called /run.
	if st, err := img.tree.StatFile(ctx, gwclient.StatRequest{Path: "/run"}); err != nil || st.IsDir() {
		about, err := img.about(ctx, c)
		if err != nil {
			return nil, err
		}
		req.Mounts = append(req.Mounts, gwclient.Mount{Dest: "/run/config/buildkit/metadata", Ref: about, Readonly: true})
	}
	if none, _ := strconv.ParseBool(img.config.Config.Labels["moby.buildkit.frontend.network.none"]); none {
		req.NetMode = pb.NetMode_NONE
	}
	return c.NewContainer(ctx, req)
}

// about is a tree with what the frontend can read of itself: the definition that it is of.
func (img *image) about(ctx context.Context, c gwclient.Client) (gwclient.Reference, error) {
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(img.def)
	if err != nil {
		return nil, err
	}
	st := llb.Scratch().File(llb.Mkfile("/frontend.bin", 0o400, dt), dockerui.WithInternalName("describe the frontend "+img.name))
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}
