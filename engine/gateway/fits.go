package gateway

import (
	"github.com/containerd/containerd/v2/defaults"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// maxMessage is how many bytes a client takes as one message.
const maxMessage = defaults.DefaultMaxRecvMsgSize

// Fits returns an error if an answer is more than a client takes as one message. Hint says
// what to do then.
func Fits(answer proto.Message, hint string) error {
	if size := proto.Size(answer); size > maxMessage {
		return status.Errorf(codes.ResourceExhausted, "the answer has %d bytes, and clients take %d as one message: %s", size, maxMessage, hint)
	}
	return nil
}
