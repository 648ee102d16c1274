// Package tracing sends spans of OpenTelemetry to a collector: those of builds, and those that
// clients hand to a daemon.
package tracing

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// FromEnv makes a Sender for the collector that the environment names, in the variables of
// OpenTelemetry (OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_*, OTEL_SERVICE_NAME). It is nil
// where none is named. Notice is told when spans cannot be sent.
func FromEnv(ctx context.Context, service string, notice func(text string)) (*Sender, error) {
	to, err := collector()
	if err != nil || to == nil {
		return nil, err
	}
	if err := to.Start(ctx); err != nil {
		return nil, fmt.Errorf("the collector of traces: %w", err)
	}
	about, err := about(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return newSender(to, about, notice), nil
}

// collector is who gets spans. What it is told of headers, certificates and time, it finds in
// the environment by itself.
func collector() (otlptrace.Client, error) {
	switch name := os.Getenv("OTEL_TRACES_EXPORTER"); name {
	case "otlp":
	case "":
		if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return nil, nil
		}
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%s: it can be otlp or none", name)
	}
	if os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	switch protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "grpc"); protocol {
	case "grpc":
		return otlptracegrpc.NewClient(), nil
	case "http/protobuf":
		return otlptracehttp.NewClient(), nil
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%s: it can be grpc or http/protobuf", protocol)
	}
}

// about is what spans say of the process.
func about(ctx context.Context, service string) (*resourcepb.Resource, error) {
	res, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", service)), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	out := &resourcepb.Resource{}
	for _, kv := range res.Attributes() {
		out.Attributes = append(out.Attributes, text(string(kv.Key), kv.Value.String()))
	}
	return out, nil
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}
