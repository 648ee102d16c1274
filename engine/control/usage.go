package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/store"
)

// DiskUsage lists what may be removed.
func (s *Server) DiskUsage(ctx context.Context, req *controlapi.DiskUsageRequest) (*controlapi.DiskUsageResponse, error) {
	match, err := store.UsageFilter(req.Filter)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	all, err := s.opt.Engine.Store().Du(ctx)
	if err != nil {
		return nil, err
	}
	now, resp := time.Now(), &controlapi.DiskUsageResponse{}
	for _, u := range all {
		if match(u) && (req.AgeLimit <= 0 || now.Sub(u.LastUsedAt) >= time.Duration(req.AgeLimit)) {
			resp.Record = append(resp.Record, record(u))
		}
	}
	hint := fmt.Sprintf("it has %d records; ask for some with a filter (--filter type=regular), or prune", len(resp.Record))
	return resp, gateway.Fits(resp, hint)
}

// Prune removes, and tells what it has removed.
func (s *Server) Prune(req *controlapi.PruneRequest, stream controlapi.Control_PruneServer) error {
	if _, err := store.UsageFilter(req.Filter); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	var failed error
	err := s.opt.Engine.Store().Prune(stream.Context(), store.PruneOptions{
		All: req.All, Filters: req.Filter, KeepDuration: time.Duration(req.KeepDuration),
		ReservedSpace: req.ReservedSpace, MaxUsedSpace: req.MaxUsedSpace, MinFreeSpace: req.MinFreeSpace,
		By: "a client's prune",
	}, func(u store.UsageInfo) {
		if failed == nil {
			failed = stream.Send(record(u))
		}
	})
	return errors.Join(err, failed)
}

func record(u store.UsageInfo) *controlapi.UsageRecord {
	r := &controlapi.UsageRecord{
		ID: u.ID, Mutable: u.Mutable, InUse: u.InUse, Size: u.Size, Shared: u.Shared, Parents: u.Parents,
		CreatedAt: timestamppb.New(u.CreatedAt), UsageCount: int64(u.UsageCount), Description: u.Description, RecordType: u.Type,
	}
	if !u.LastUsedAt.IsZero() {
		r.LastUsedAt = timestamppb.New(u.LastUsedAt)
	}
	return r
}
