package progress_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/internal/check"
)

// What many steps did, with long logs, large warnings and errors, fits into messages that
// clients take. Nothing is told twice, and all in order.
func TestMessages(t *testing.T) {
	st := &bkclient.SolveStatus{}
	var log []byte
	for n := range 20_000 {
		d := digest.FromString(fmt.Sprint(n))
		st.Vertexes = append(st.Vertexes, &bkclient.Vertex{Digest: d, Name: strings.Repeat("n", 4000)})
		st.Statuses = append(st.Statuses, &bkclient.VertexStatus{ID: strings.Repeat("i", 1000), Vertex: d})
		st.Logs = append(st.Logs, &bkclient.VertexLog{Vertex: d, Data: fmt.Appendf(nil, "%1000d", n)})
		log = append(log, st.Logs[n].Data...)
	}
	st.Logs = append(st.Logs, &bkclient.VertexLog{Data: bytes.Repeat([]byte("l"), 40<<20)})
	log = append(log, st.Logs[20_000].Data...)
	st.Vertexes = append(st.Vertexes, &bkclient.Vertex{Inputs: make([]digest.Digest, 500_000), Error: strings.Repeat("ä", 20<<20)})
	for i := range st.Vertexes[20_000].Inputs {
		st.Vertexes[20_000].Inputs[i] = st.Vertexes[0].Digest
	}
	for n := range 5 {
		st.Warnings = append(st.Warnings, &bkclient.VertexWarning{Short: fmt.Append(nil, n), Detail: [][]byte{make([]byte, 7<<20)}})
	}
	st.Warnings = append(st.Warnings,
		&bkclient.VertexWarning{Short: []byte("5"), SourceInfo: &pb.SourceInfo{Data: make([]byte, 20<<20)}},
		&bkclient.VertexWarning{Short: []byte("6" + strings.Repeat(" ", 20<<20)), Detail: [][]byte{make([]byte, 20<<20)}, URL: strings.Repeat("u", 20<<20)})

	var all controlapi.StatusResponse
	for m := range progress.Messages(st) {
		if size := proto.Size(m); size > 9<<20 {
			t.Errorf("a message has %d bytes", size)
		}
		_, err := proto.Marshal(m)
		check.OK(t, err)
		all.Vertexes = append(all.Vertexes, m.Vertexes...)
		all.Statuses = append(all.Statuses, m.Statuses...)
		all.Logs = append(all.Logs, m.Logs...)
		all.Warnings = append(all.Warnings, m.Warnings...)
	}
	check.Equal(t, "vertices", len(all.Vertexes), 20_001)
	check.Equal(t, "statuses", len(all.Statuses), 20_000)
	for n, v := range all.Vertexes[:20_000] {
		check.Equal(t, "vertex", v.Digest, string(st.Vertexes[n].Digest))
		check.Equal(t, "vertex of the status", all.Statuses[n].Vertex, v.Digest)
	}
	var logged []byte
	for _, l := range all.Logs {
		logged = append(logged, l.Msg...)
	}
	check.Equal(t, "the log is whole", bytes.Equal(logged, log), true)
	check.Equal(t, "warnings", len(all.Warnings), 7)
	for n, w := range all.Warnings {
		check.Equal(t, "warning", string(w.Short[:1]), fmt.Sprint(n))
	}
	check.Equal(t, "detail of the first warning", len(all.Warnings[0].Detail[0]), 7<<20)

	small := 0
	for range progress.Messages(&bkclient.SolveStatus{Vertexes: st.Vertexes[:1], Warnings: st.Warnings[:0]}) {
		small++
	}
	check.Equal(t, "messages of a small status", small, 1)
	for range progress.Messages(st) {
		break // who has enough is told no more
	}
}
