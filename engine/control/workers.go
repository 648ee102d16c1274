package control

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/pkg/filters"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tenonbuild/tenon/engine"
)

// ListWorkers lists the workers that match.
func (s *Server) ListWorkers(_ context.Context, req *controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	match, err := filters.ParseAll(req.Filter...)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "filter of workers: %v", err)
	}
	resp := &controlapi.ListWorkersResponse{}
	for _, w := range s.opt.Engine.Workers() {
		if match.Match(adapt(w)) {
			resp.Record = append(resp.Record, s.worker(w))
		}
	}
	return resp, nil
}

func (s *Server) worker(w engine.Worker) *apitypes.WorkerRecord {
	r := &apitypes.WorkerRecord{ID: w.ID, Labels: w.Labels, Platforms: pb.PlatformsFromSpec(w.Platforms), BuildkitVersion: s.opt.Version}
	for _, p := range w.GC.Policies {
		r.GCPolicy = append(r.GCPolicy, &apitypes.GCPolicy{
			All: p.All, Filters: p.Filters, KeepDuration: int64(p.KeepDuration),
			ReservedSpace: p.ReservedSpace, MaxUsedSpace: p.MaxUsedSpace, MinFreeSpace: p.MinFreeSpace,
		})
	}
	for _, d := range w.Devices {
		r.CDIDevices = append(r.CDIDevices, &apitypes.CDIDevice{Name: d.Name, AutoAllow: d.AutoAllow, Annotations: d.Annotations, OnDemand: d.OnDemand})
	}
	return r
}

// adapt is a worker as filters see it.
func adapt(w engine.Worker) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		switch {
		case len(path) == 1 && path[0] == "id":
			return w.ID, true
		case len(path) > 1 && path[0] == "labels":
			v, ok := w.Labels[strings.Join(path[1:], ".")]
			return v, ok
		}
		return "", false
	})
}
