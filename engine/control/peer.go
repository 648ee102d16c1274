package control

import (
	"context"
	"crypto/sha256"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// sender names whom a request comes from: the user of this machine, behind a socket whose
// credentials say so (Local), or who a certificate was made for. "" if nobody says.
func sender(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	switch a := p.AuthInfo.(type) {
	case credentials.TLSInfo:
		if chain := a.State.VerifiedChains; len(chain) > 0 {
			return fmt.Sprintf("certificate %x", sha256.Sum256(chain[0][0].Raw))
		}
	case localInfo:
		return fmt.Sprintf("user %d", a.uid)
	}
	return ""
}
