package llb

import (
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/solver"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

// vertex is an op of a definition. It is immutable.
type vertex struct {
	digest digest.Digest
	op     *pb.Op
	given  *pb.Op // op as the definition has it
	meta   *pb.OpMetadata
	name   string
	inputs []solver.Edge
	opts   solver.VertexOptions
	proxy  bool
	times  bool
}

func (v *vertex) Digest() digest.Digest         { return v.digest }
func (v *vertex) Sys() interface{}              { return v.op }
func (v *vertex) Options() solver.VertexOptions { return v.opts }
func (v *vertex) Inputs() []solver.Edge         { return v.inputs }
func (v *vertex) Name() string                  { return v.name }

// MetadataOf returns the metadata that a definition has for a vertex that Load made:
// progress group, resource limits and the like. Nil if there is none. It must not be
// changed.
func MetadataOf(v solver.Vertex) *pb.OpMetadata {
	if x, ok := v.(*vertex); ok {
		return x.meta
	}
	return nil
}

// OpOf returns the op of a vertex as it is in the definition that Load made the vertex of:
// clients look for it there by its digest. Nil if Load made none. It must not be changed.
func OpOf(v solver.Vertex) *pb.Op {
	if x, ok := v.(*vertex); ok {
		return x.given
	}
	return nil
}

// Proxied says whether a vertex that Load made is a step that reaches others only by a proxy.
func Proxied(v solver.Vertex) bool {
	x, ok := v.(*vertex)
	return ok && x.proxy
}

// TimesCount says whether what a vertex that Load made writes is told apart by its times.
func TimesCount(v solver.Vertex) bool {
	x, ok := v.(*vertex)
	return ok && x.times
}

// loader makes vertices of ops.
type loader struct {
	def      *definition
	opt      LoadOptions
	platform *pb.Platform
	vertices map[int]*vertex // by index into def.ops
	last     *vertex
}

// init settles the default platform and checks what ops ask for as a whole.
func (l *loader) init() error {
	l.platform = l.opt.DefaultPlatform
	if l.platform == nil {
		p := platforms.DefaultSpec()
		l.platform = &pb.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	if err := checkPlatform(l.platform); err != nil {
		return fmt.Errorf("default platform: %w", err)
	}
	return checkCaps(l.def.src.Metadata)
}

// parallelPolicy is how many sources are decided about at a time.
const parallelPolicy = 16

// decide has the policy decide about the sources among ops, which it may change.
func (l *loader) decide(ops []int) error {
	if l.opt.Policy == nil {
		return nil
	}
	var eg errgroup.Group
	eg.SetLimit(parallelPolicy)
	for _, n := range ops {
		o := l.def.ops[n]
		if o.pb.GetSource() == nil {
			continue
		}
		eg.Go(func() error {
			return Locate(l.opt.Policy(o.pb), l.def.src.Source, o.digest)
		})
	}
	return eg.Wait()
}

// add makes the vertex of an op, after those of its inputs.
func (l *loader) add(n int) error {
	o := l.def.ops[n]
	here := func(err error) error { return Locate(err, l.def.src.Source, o.digest) }
	fail := func(err error) error { return here(fmt.Errorf("%s: %w", o.label(), err)) }
	p := l.normalise(o.pb)
	v := &vertex{op: p, given: o.pb, meta: o.meta, opts: l.options(o.meta), inputs: make([]solver.Edge, len(o.inputs))}
	if err := l.grantDevices(p.GetExec()); err != nil {
		return fail(err)
	}
	for i, in := range o.inputs {
		sub := l.vertices[in]
		v.inputs[i] = solver.Edge{Vertex: sub, Index: solver.Index(p.Inputs[i].Index)}
		p.Inputs[i].Digest = sub.digest.String()
	}
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return fail(err)
	}
	if e := p.GetExec(); e != nil && l.opt.Proxy && e.Network != pb.NetMode_NONE {
		v.proxy = true
		dt = append(dt, "\x00tenon.proxy"...)
	}
	if p.GetBuild() != nil && l.opt.Policy != nil {
		dt = append(dt, l.opt.PolicyID...)
		v.opts.IgnoreCache = true
	}
	v.name = v.opts.Description["llb.customname"]
	if v.name == "" {
		v.name = name(p, v.inputs)
	}
	if (p.GetExec() != nil || p.GetFile() != nil) && l.opt.TimesCount != nil && l.opt.TimesCount(v.name) {
		v.times = true
		dt = append(dt, "\x00tenon.times"...)
	}
	v.digest = digest.FromBytes(dt)
	if err := checkEntitled(p, l.opt.Allowed, v.name); err != nil {
		return here(err)
	}
	if p.GetExec() != nil && l.opt.CheckRun != nil {
		if err := l.opt.CheckRun(p.Platform); err != nil {
			return here(fmt.Errorf("step %q: %w", v.name, err))
		}
	}
	if err := checkConstraints(p.Constraints, l.opt.WorkerLabels); err != nil {
		return fail(err)
	}
	if src := p.GetSource(); src != nil && l.opt.CheckSource != nil {
		if err := l.opt.CheckSource(src, p.Platform); err != nil {
			return fail(err)
		}
	}
	l.vertices[n] = v
	l.last = v
	return nil
}

// grantDevices puts those devices into a step that it gets.
func (l *loader) grantDevices(e *pb.ExecOp) (err error) {
	asked := e.GetCdiDevices()
	if len(asked) == 0 {
		return nil
	}
	if l.opt.Devices != nil {
		e.CdiDevices, err = l.opt.Devices(asked)
		return err
	}
	e.CdiDevices = nil
	for _, d := range asked {
		if !d.GetOptional() {
			return fmt.Errorf("device %q: steps get no devices here", d.GetName())
		}
	}
	return nil
}

// options are what the request and the op's metadata say of a vertex.
func (l *loader) options(m *pb.OpMetadata) solver.VertexOptions {
	o := solver.VertexOptions{
		IgnoreCache:  l.opt.NoCache || m.GetIgnoreCache(),
		CacheSources: l.opt.CacheSources,
		Description:  m.GetDescription(),
	}
	if e := m.GetExportCache(); e != nil {
		o.ExportCache = &e.Value
	}
	return o
}

// normalise returns a copy of the op in the form its digest is made of: see the
// package comment.
func (l *loader) normalise(in *pb.Op) *pb.Op {
	p := proto.CloneOf(in)
	switch k := p.Op.(type) {
	case *pb.Op_Source:
		p.Platform = l.normalPlatform(p.Platform)
		k.Source.Attrs = l.attrs(k.Source)
	case *pb.Op_Exec:
		p.Platform = l.normalPlatform(p.Platform)
	default:
		p.Platform = nil
	}
	if len(p.GetConstraints().GetFilter()) == 0 {
		p.Constraints = nil
	}
	return p
}

func (l *loader) normalPlatform(p *pb.Platform) *pb.Platform {
	if p == nil || p.OS == "" && p.Architecture == "" {
		p = l.platform
	}
	n := platforms.Normalize(ocispec.Platform{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
	})
	return &pb.Platform{
		OS: n.OS, Architecture: n.Architecture, Variant: n.Variant, OSVersion: n.OSVersion, OSFeatures: n.OSFeatures,
	}
}

// attrs returns the attributes of a source, with what the request has for its kind: the
// session that it reads from, say.
func (l *loader) attrs(s *pb.SourceOp) map[string]string {
	more := map[string]string{}
	session := func(key string) {
		if l.opt.SessionID != "" && s.Attrs[key] == "" {
			more[key] = l.opt.SessionID
		}
	}
	switch scheme, _, _ := strings.Cut(s.Identifier, "://"); scheme {
	case "local":
		session(pb.AttrLocalSessionID)
	case "oci-layout", "oci-layout+blob":
		session(pb.AttrOCILayoutSessionID)
	case "git":
		more = l.opt.GitAttrs
	}
	if len(more) == 0 {
		return s.Attrs
	}
	attrs := map[string]string{}
	maps.Copy(attrs, s.Attrs)
	maps.Copy(attrs, more)
	return attrs
}

// graph is the result, once all vertices are made.
func (l *loader) graph() (*Graph, error) {
	g := &Graph{
		Edge:    solver.Edge{Vertex: l.last, Index: solver.Index(l.def.end.Index)},
		Digests: make(map[digest.Digest]digest.Digest, len(l.vertices)),
	}
	for n, v := range l.vertices {
		g.Digests[l.def.ops[n].digest] = v.digest
		g.Vertices = append(g.Vertices, v)
	}
	g.Source = mapSource(l.def.src.Source, l.def.ops, l.vertices)
	return g, nil
}

// mapSource returns the source map with the digests of vertices.
func mapSource(src *pb.Source, ops []*op, vertices map[int]*vertex) *pb.Source {
	if src == nil {
		return nil
	}
	out := &pb.Source{Infos: src.Infos, Locations: make(map[string]*pb.Locations, len(src.Locations))}
	for n, o := range ops {
		v, locs := vertices[n], src.Locations[o.digest.String()]
		if v == nil || locs == nil {
			continue
		}
		// Two ops may have become one vertex.
		all := append(out.Locations[v.digest.String()].GetLocations(), locs.Locations...)
		out.Locations[v.digest.String()] = &pb.Locations{Locations: all}
	}
	return out
}
