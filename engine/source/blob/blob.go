// Package blob is the source of single blobs, by their digest, as files: of registries
// (docker-image+blob://...) and of OCI layouts that a session lends (oci-layout+blob://...).
//
// A file is known by its digest, so nobody is asked for it before it is needed.
package blob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/engine/store"
)

// Options are what a Source works with. All are needed.
type Options struct {
	Store *store.Store
	Places
}

// Source serves docker-image+blob:// and oci-layout+blob://.
type Source struct {
	opt Options
}

var (
	_ source.Source    = (*Source)(nil)
	_ source.Describer = (*instance)(nil)
)

// New makes a Source.
func New(opt Options) *Source { return &Source{opt: opt} }

// Schemes implements source.Source.
func (s *Source) Schemes() []string { return []string{registryScheme, layoutScheme} }

// Parse implements source.Source.
func (s *Source) Parse(op *pb.SourceOp, _ *pb.Platform) (source.Instance, error) {
	i := &instance{s: s, file: trees.File{Perm: trees.DefaultPerm}, recordType: "regular"}
	var err error
	if i.at, err = ParseLocator(op.GetIdentifier()); err != nil {
		return nil, fmt.Errorf("source %w", err)
	}
	i.file.Name = i.at.Digest.Encoded()
	for k, v := range op.GetAttrs() {
		if err := i.attr(k, v); err != nil {
			return nil, fmt.Errorf("source %s: %w", op.GetIdentifier(), err)
		}
	}
	return i, nil
}

// instance is one blob of one operation.
type instance struct {
	s          *Source
	at         Locator
	file       trees.File
	named      bool // the operation names the file
	perm       int  // as it was asked for: 0 if it was not
	recordType string
}

// attr takes one attribute of an operation. BuildKit names them like those of a file of a
// server.
func (i *instance) attr(k, v string) (err error) {
	switch k {
	case pb.AttrHTTPFilename:
		if v != "" {
			i.file.Name, i.named = trees.Name(v), true
		}
	case pb.AttrHTTPPerm:
		i.file.Perm, i.perm, err = trees.Perm(v)
	case pb.AttrHTTPUID:
		i.file.UID, err = trees.Owner(v)
	case pb.AttrHTTPGID:
		i.file.GID, err = trees.Owner(v)
	case pb.AttrImageRecordType:
		switch v {
		case "":
		case "regular", "internal", "frontend":
			i.recordType = v
		default:
			return fmt.Errorf("%s is %q: it may be regular, internal or frontend", k, v)
		}
	case pb.AttrOCILayoutSessionID, pb.AttrOCILayoutStoreID:
		return i.layout(k, v)
	default:
		return fmt.Errorf("attribute %s=%q is not known", k, v)
	}
	return err
}

// layout takes an attribute that says which layout is meant.
func (i *instance) layout(k, v string) error {
	switch {
	case !i.at.Local:
		return fmt.Errorf("attribute %s=%q: a blob of a registry is in no OCI layout", k, v)
	case k == pb.AttrOCILayoutSessionID:
		i.at.Session = v
	case v != "":
		i.at.Layout = v
	}
	return nil
}

// CacheKey implements source.Instance: the digest, and how the file is stored.
func (i *instance) CacheKey(context.Context, int) (string, bool, error) {
	f := i.file
	return fmt.Sprintf("blob %s %#o %d:%d %q", i.at.Digest, f.Perm, f.UID, f.GID, f.Name), true, nil
}

// BuildKitKey implements source.BuildKitKeyer.
func (i *instance) BuildKitKey(context.Context) (key string, whole bool, err error) {
	about := struct {
		Version        string
		Digest         digest.Digest
		Filename       string
		Perm, UID, GID int
	}{Version: "v1", Digest: i.at.Digest, Perm: i.perm, UID: i.file.UID, GID: i.file.GID}
	if i.named {
		about.Filename = i.file.Name
	}
	dt, err := json.Marshal(about)
	if err != nil {
		return "", false, fmt.Errorf("blob %s: %w", i.at.Ref, err)
	}
	return digest.FromBytes(dt).String(), true, nil
}

// Describe implements source.Describer.
func (i *instance) Describe(_ context.Context, to *provenance.Capture) error {
	to.AddImageBlob(i.at.Provenance())
	return nil
}

// Snapshot implements source.Instance.
func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	opt := store.NewOptions{Description: "blob " + i.at.Ref, RecordType: i.recordType}
	ref, err := trees.Write(ctx, i.s.opt.Store, opt, func(dir string) (err error) {
		rc, err := i.s.opt.Open(ctx, i.at)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rc.Close()) }()
		return i.file.Write(dir, store.WithinRoom(dir, i.file.Name, rc), io.Discard)
	})
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", i.at.Ref, err)
	}
	return ref, nil
}
