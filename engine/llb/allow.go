package llb

import (
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	apicapspb "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/moby/buildkit/util/entitlements"
)

// missing are the capabilities of LLB that this engine does not have yet.
var missing = map[apicaps.CapID]string{
	pb.CapRemoteCacheGHA:    "there are no remote caches yet",
	pb.CapRemoteCacheS3:     "there are no remote caches yet",
	pb.CapRemoteCacheAzBlob: "there are no remote caches yet",
}

// Caps lists LLB's capabilities and which of them this engine has, for frontends to
// choose by.
func Caps() []*apicapspb.APICap {
	all := pb.Caps.All()
	for _, c := range all {
		if why, ok := missing[apicaps.CapID(c.ID)]; ok {
			c.Enabled = false
			c.DisabledReasonMsg = why
		}
	}
	return all
}

// CapError says that a definition asks for a capability that is not there.
type CapError struct {
	Cap string
	Err error // why
}

func (e *CapError) Error() string {
	if why, ok := missing[apicaps.CapID(e.Cap)]; ok {
		return fmt.Sprintf("the LLB definition needs the capability %s: %s", e.Cap, why)
	}
	return fmt.Sprintf("the LLB definition needs the capability %s, which this version does not know: a newer one may, or the frontend can be told to do without", e.Cap)
}

func (e *CapError) Unwrap() error { return e.Err }

// checkCaps checks what the ops of a definition, and the definition itself, say they
// need. Every op is asked, so that one error tells of the first in a stable order.
func checkCaps(md map[string]*pb.OpMetadata) error {
	need := map[string]bool{}
	for _, m := range md {
		for c, on := range m.GetCaps() {
			if on {
				need[c] = true
			}
		}
	}
	if len(need) == 0 {
		return nil
	}
	set := pb.Caps.CapSet(Caps())
	for _, c := range slices.Sorted(maps.Keys(need)) {
		if err := set.Supports(apicaps.CapID(c)); err != nil {
			return &CapError{Cap: c, Err: err}
		}
	}
	return nil
}

// EntitlementError says that an op needs a right that was not granted.
type EntitlementError struct {
	Entitlement entitlements.Entitlement
	Step        string // the name of the vertex
}

func (e *EntitlementError) Error() string {
	return fmt.Sprintf("step %q needs %s, which was not granted: if you trust it, build again with --allow %s", e.Step, e.Entitlement, e.Entitlement)
}

// BuildKit is the error in BuildKit's words.
func (e *EntitlementError) BuildKit() string { return string(e.Entitlement) + " is not allowed" }

func checkEntitled(o *pb.Op, allowed entitlements.Set, step string) error {
	e := o.GetExec()
	if e == nil {
		return nil
	}
	if e.Network == pb.NetMode_HOST && !allowed.Allowed(entitlements.EntitlementNetworkHost) {
		return &EntitlementError{Entitlement: entitlements.EntitlementNetworkHost, Step: step}
	}
	if e.Security == pb.SecurityMode_INSECURE && !allowed.Allowed(entitlements.EntitlementSecurityInsecure) {
		return &EntitlementError{Entitlement: entitlements.EntitlementSecurityInsecure, Step: step}
	}
	return nil
}

// checkConstraints checks on which workers an op may run: each filter is in
// containerd's syntax. There is one worker, this process.
func checkConstraints(c *pb.WorkerConstraints, labels map[string]string) error {
	for _, f := range c.GetFilter() {
		filter, err := filters.Parse(f)
		if err != nil {
			return fmt.Errorf("worker constraint %q: %w", f, err)
		}
		if labels == nil {
			continue
		}
		if !filter.Match(filters.AdapterFunc(func(field []string) (string, bool) {
			if len(field) == 2 && field[0] == "labels" {
				v, ok := labels[field[1]]
				return v, ok
			}
			return "", false
		})) {
			return fmt.Errorf("worker constraint %q: this machine does not match it", f)
		}
	}
	return nil
}
