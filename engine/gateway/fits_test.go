package gateway_test

import (
	"fmt"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/internal/check"
)

// What is in a large store is one answer, which clients take if it has so many records, and an
// error that says what to do if it has more.
func TestFits(t *testing.T) {
	resp := &controlapi.DiskUsageResponse{}
	for n := range 100_000 {
		id := fmt.Sprintf("%025d", n)
		resp.Record = append(resp.Record, &controlapi.UsageRecord{
			ID: id, Size: 123456789, Parents: []string{id}, RecordType: "regular", UsageCount: 3,
			CreatedAt: timestamppb.New(time.Unix(1e9, 1)), LastUsedAt: timestamppb.New(time.Unix(1e9, 1)),
			Description: "[build 3/7] RUN --mount=type=cache,target=/root/.cache/go-build go build ./cmd/server",
		})
	}
	check.Says(t, gateway.Fits(resp, "prune"), "ResourceExhausted", "clients take 16777216", "prune")
	resp.Record = resp.Record[:60_000]
	check.OK(t, gateway.Fits(resp, "prune"))
}
