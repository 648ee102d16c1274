package export

import (
	"reflect"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
)

// addedComment marks entries of the history that the config did not have. It is
// BuildKit's, so that the same build has the same image.
const addedComment = "buildkit.exporter.image.v0"

// alignHistory makes the entries of a history that are not empty as many as there
// are layers, which readers count on: surplus ones become empty, from the end, and
// missing ones are made of what layers say of themselves. Entries without a time
// get one: that of their layer, or of the next layer made after the base, or the
// last known. The rules are BuildKit's, so that the same Dockerfile has the same
// history. The result is new; surplus says whether entries had to become empty.
func alignHistory(in []ocispec.History, layers []store.Layer) (out []ocispec.History, surplus bool) {
	out = make([]ocispec.History, 0, len(in)+len(layers))
	used := 0
	for _, h := range in {
		if !h.EmptyLayer && used == len(layers) {
			h.EmptyLayer, surplus = true, true
		}
		if !h.EmptyLayer {
			if h.Created == nil {
				h.Created = layers[used].CreatedAt
			}
			used++
		}
		out = append(out, h)
	}
	for _, l := range layers[used:] {
		out = append(out, ocispec.History{Created: l.CreatedAt, CreatedBy: describe(l), Comment: addedComment})
	}
	fillTimes(out)
	return out, surplus
}

func describe(l store.Layer) string {
	if l.Description != "" {
		return l.Description
	}
	return "a layer without a description"
}

// fillTimes gives entries without a time that of the entry before, or, for those
// before the first that was made after a gap, that one's.
func fillTimes(hs []ocispec.History) {
	var at *time.Time
	gap := false
	for _, h := range hs {
		if h.Created == nil {
			gap = true
			continue
		}
		at = h.Created
		if gap {
			break
		}
	}
	gap = false
	for i := range hs {
		if hs[i].Created == nil {
			gap = true
			hs[i].Created = at
		} else if gap {
			at = hs[i].Created
		}
	}
}

// clampHistory makes no time later than limit, but for the entries of the base,
// which are as their image has them.
func clampHistory(hs, base []ocispec.History, limit time.Time) {
	inBase := true
	for i := range hs {
		inBase = inBase && i < len(base) && reflect.DeepEqual(hs[i], base[i])
		if inBase {
			continue
		}
		if hs[i].Created == nil || hs[i].Created.After(limit) {
			hs[i].Created = &limit
		}
	}
}
