package http

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// permanent decides whether a request that failed would fail again.
func permanent(err error) bool {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		auth x509.UnknownAuthorityError
		no   *refused
	)
	switch {
	case errors.As(err, &no):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	case errors.As(err, &cert), errors.As(err, &auth), errors.Is(err, http.ErrSchemeMismatch):
		return true
	case errors.Is(err, syscall.ECONNREFUSED):
		return true
	}
	// net/http has no names for these.
	msg := err.Error()
	return strings.HasPrefix(msg, "unsupported protocol scheme")
}
