package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/cli/templates"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
)

// inspected is what is known of an image, by docker's names.
type inspected struct {
	Id           string //nolint:revive // docker's
	RepoTags     []string
	RepoDigests  []string
	Created      string `json:",omitempty"`
	Author       string `json:",omitempty"`
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64
	Config       dockerspec.DockerOCIImageConfig
	RootFS       rootFS
	Descriptor   ocispec.Descriptor
	Manifests    []inspectedManifest
}

type rootFS struct {
	Type   string
	Layers []digest.Digest
}

// inspectedManifest is an image for one platform.
type inspectedManifest struct {
	Platform  string
	Digest    digest.Digest
	ID        digest.Digest
	Layers    []digest.Digest
	Size      int64
	Available bool
}

func (c *cli) inspectCommand() *cobra.Command {
	var format, platform string
	cmd := &cobra.Command{
		Use:   "inspect IMAGE [IMAGE...]",
		Short: "Show all that is known of images",
		Example: `  tenon images inspect app
  tenon images inspect --format '{{json .Config.Env}}' app`,
		Args:              arguments(1, many, "an image or more"),
		ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.read(ctx, func(r query.Reader) error {
				all, err := r.Images(ctx)
				if err != nil {
					return err
				}
				var list []inspected
				for _, ref := range args {
					i, err := inspect(all, ref, platform)
					if err != nil {
						return err
					}
					list = append(list, i)
				}
				return c.printInspected(list, format)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "\"json\" or a Go template")
	cmd.Flags().StringVar(&platform, "platform", "", "of an image for several platforms, which one")
	return cmd
}

func inspect(all []*images.Image, ref, platform string) (out inspected, _ error) {
	img, err := images.FindIn(all, ref)
	if err != nil {
		return out, err
	}
	out = inspected{Id: img.ID().String(), Size: img.Size, Descriptor: img.Target, RepoTags: []string{}, RepoDigests: []string{}}
	for _, name := range img.Names {
		n, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			continue
		}
		if _, ok := n.(reference.Tagged); ok {
			out.RepoTags = append(out.RepoTags, reference.FamiliarString(n))
		}
		out.RepoDigests = append(out.RepoDigests, reference.FamiliarName(n)+"@"+img.Target.Digest.String())
	}
	for _, p := range img.Platforms {
		out.Manifests = append(out.Manifests, inspectedManifest{
			Platform: platforms.Format(p.Platform), Digest: p.Manifest.Digest, ID: p.Config, Layers: p.Layers, Size: p.Size, Available: p.Complete,
		})
	}
	which, err := onePlatform(img.Image, platform)
	if err != nil {
		return out, fmt.Errorf("image %q: %w", ref, err)
	}
	if which == nil {
		return out, nil
	}
	out.Architecture, out.Os, out.Variant = which.Architecture, which.OS, which.Variant
	if which.Config != "" {
		out.Id = which.Config.String()
	}
	if config := which.Image; config != nil {
		out.Author, out.Config = config.Author, config.Config
		out.RootFS = rootFS{config.RootFS.Type, config.RootFS.DiffIDs}
		if config.Created != nil {
			out.Created = config.Created.Format(time.RFC3339Nano)
		}
	}
	return out, nil
}

// onePlatform is the image for a platform; for "" the first, nil if there is none.
func onePlatform(img *images.Image, want string) (*images.Platform, error) {
	if want == "" {
		if len(img.Platforms) == 0 {
			return nil, nil
		}
		return &img.Platforms[0], nil
	}
	p, err := platforms.Parse(want)
	if err != nil {
		return nil, fmt.Errorf("--platform %q: %w", want, err)
	}
	for i := range img.Platforms {
		if platforms.OnlyStrict(p).Match(img.Platforms[i].Platform) {
			return &img.Platforms[i], nil
		}
	}
	return nil, fmt.Errorf("there is none for the platform %s: it is for %s", platforms.Format(p), platformsOf(img))
}

func (c *cli) printInspected(list []inspected, format string) error {
	if format == "" || format == "json" {
		enc := json.NewEncoder(c.text())
		enc.SetIndent("", "    ")
		return enc.Encode(list)
	}
	t, err := templates.Parse(format)
	if err != nil {
		return fmt.Errorf("--format %q: %w", format, err)
	}
	for _, i := range list {
		if err := execute(c.text(), format, t, i); err != nil {
			return err
		}
	}
	return nil
}
