package remote

import (
	"context"
	"fmt"

	sessionexporter "github.com/moby/buildkit/session/exporter"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// maxExporters is how many exporters a caller may choose.
const maxExporters = 32

// Exporters are those that the caller chooses for a result, whose references it knows by
// names. A caller that does not choose has none.
func (s *Session) Exporters(ctx context.Context, metadata map[string][]byte, refs []string) ([]*sessionexporter.ExporterRequest, error) {
	resp, err := sessionexporter.NewExporterClient(s.caller.Conn()).FindExporters(s.caller.Context(ctx), &sessionexporter.FindExportersRequest{
		Metadata: metadata, Refs: refs,
	})
	if err = chosen(err); err != nil {
		return nil, fmt.Errorf("the client's choice of exporters: %w", err)
	}
	if n := len(resp.GetExporters()); n > maxExporters {
		return nil, fmt.Errorf("the client chose %d exporters, and may choose %d", n, maxExporters)
	}
	return resp.GetExporters(), nil
}

// Exported tells the caller what all exporters have said. It may refuse that.
func (s *Session) Exported(ctx context.Context, response map[string]string) error {
	_, err := sessionexporter.NewExporterClient(s.caller.Conn()).FinalizeExport(s.caller.Context(ctx), &sessionexporter.FinalizeExportRequest{
		ExporterResponse: response,
	})
	if err = chosen(err); err != nil {
		return fmt.Errorf("the client, when the exporters had ended: %w", err)
	}
	return nil
}

// chosen is an error of a caller that does choose.
func chosen(err error) error {
	switch grpcerrors.Code(err) {
	case codes.Unimplemented, codes.Unavailable:
		return nil
	}
	return err
}
