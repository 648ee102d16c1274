package gateway

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Recovering are options of a server by which a panic is an error of the one request that
// it came from, errors have their details, and an answer that is too large for clients is one
// that says so. Notice, if not nil, is told of panics.
func Recovering(notice func(text string)) []grpc.ServerOption {
	recovered := func(err *error) {
		r := recover()
		if r == nil {
			return
		}
		if notice != nil {
			notice(fmt.Sprintf("a request panicked: %v\n%s", r, debug.Stack()))
		}
		*err = status.Errorf(codes.Internal, "the daemon has a fault, which fails this request only: %v", r)
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor,
			func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (answer any, err error) {
				defer readable(&err)
				defer recovered(&err)
				answer, err = h(ctx, req)
				if m, ok := answer.(proto.Message); ok && err == nil {
					err = Fits(m, "ask for less at a time")
				}
				return answer, err
			}),
		grpc.ChainStreamInterceptor(grpcerrors.StreamServerInterceptor,
			func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
				defer readable(&err)
				defer recovered(&err)
				return h(srv, ss)
			}),
	}
}

// readable makes an error one that can be sent: gRPC has UTF-8 only, and an error may repeat
// what a Dockerfile has. A status keeps its text.
func readable(err *error) {
	// Otherwise grpcerrors takes the words that gRPC puts before a status for a part of it.
	if _, ok := (*err).(interface{ GRPCStatus() *status.Status }); ok {
		*err = grpcerrors.FromGRPC(*err)
	}
	if *err != nil && !utf8.ValidString((*err).Error()) {
		*err = &readableError{*err}
	}
}

type readableError struct{ error }

// Error implements error.
func (e *readableError) Error() string { return strings.ToValidUTF8(e.error.Error(), "\uFFFD") }

// Unwrap returns the error as it was.
func (e *readableError) Unwrap() error { return e.error }
