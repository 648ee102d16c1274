package history

import (
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/proto"
)

// Records are in memory, and each is one message to a client. So a record is without what is
// larger than this of what was asked for, and of what was answered, and an error is cut.
const (
	maxAsked    = 256 << 10
	maxAnswered = 256 << 10
	maxError    = 64 << 10
)

// trimAsked leaves out what a request asks for, if that is too much.
func trimAsked(rec *controlapi.BuildHistoryRecord) {
	if proto.Size(rec) > maxAsked {
		rec.FrontendAttrs = nil
	}
	if proto.Size(rec) > maxAsked {
		rec.Exporters = nil
	}
}

// answered is what exporters have said, if it is not too much.
func answered(said map[string]string) map[string]string {
	size := 0
	for k, v := range said {
		if size += len(k) + len(v); size > maxAnswered {
			return nil
		}
	}
	return said
}

// message is the text of an error, which may repeat what a Dockerfile has.
func message(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "\uFFFD")
}
