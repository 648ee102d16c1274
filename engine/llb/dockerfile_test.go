package llb_test

import (
	"context"
	"testing"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	tllb "github.com/tenonbuild/tenon/engine/llb"
)

const everything = `# syntax=docker/dockerfile:1-labs
FROM busybox AS base
ARG A=1
ENV B=$A PATH=/bin
WORKDIR /w
RUN --mount=type=cache,target=/c,sharing=locked,uid=1 --mount=type=secret,id=s,env=S --mount=type=secret,id=t,target=/t,mode=0400 \
    --mount=type=ssh --mount=type=tmpfs,target=/tmp,size=1024 --mount=type=bind,source=/src,target=/src,rw --network=none true
RUN --network=host --security=insecure true
RUN <<E
echo heredoc
E
USER 1:2
RUN ["/bin/true"]

FROM scratch AS two
COPY --from=base --chown=1:2 --chmod=0755 /w/* /out/
COPY --link --parents --exclude=*.md a/./b c/*.go /p/
COPY --chmod=u+x --chown=bob:wheel --from=base / /q
COPY <<E /file
data
E
ADD a.tar b/ /unpacked/
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.com/f /f
ADD --keep-git-dir=true https://github.com/a/b.git#main:sub /git
FROM base
COPY --from=two / /
COPY --from=busybox /bin/sh /sh
COPY . .
`

// resolver knows an empty image by every name.
type resolver struct{}

func (resolver) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	dt := []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers"}}`)
	return ref, digest.FromBytes(dt), dt, nil
}

// What the Dockerfile frontend makes must never be refused.
func TestDockerfile(t *testing.T) {
	caps := pb.Caps.CapSet(tllb.Caps())
	res, err := dockerfile2llb.Dockerfile2LLB(context.Background(), []byte(everything), dockerfile2llb.ConvertOpt{
		LLBCaps:        &caps,
		MetaResolver:   resolver{},
		Config:         dockerui.Config{BuildPlatforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}},
		TargetPlatform: &ocispec.Platform{OS: "linux", Architecture: "arm64"},
	})
	if err != nil {
		t.Fatal(err)
	}
	def, err := res.State.Marshal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	g := load(t, def.ToPB(), tllb.LoadOptions{SessionID: "s", Allowed: entitlements.Set{
		entitlements.EntitlementNetworkHost: nil, entitlements.EntitlementSecurityInsecure: nil,
	}})
	if n := len(g.Digests); n < 15 {
		t.Errorf("%d vertices", n)
	}
	if len(g.Source.GetLocations()) == 0 {
		t.Error("no vertex has a place in the Dockerfile")
	}
}
