package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// credentials are nil where there are no files.
func (t tlsFiles) credentials() (credentials.TransportCredentials, error) {
	if t == (tlsFiles{}) {
		return nil, nil
	}
	if t.Cert == "" || t.Key == "" {
		return nil, errors.New("tls takes a certificate and its key: --tlscert, --tlskey")
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if t.CA != "" {
		dt, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("authority: %w", err)
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(dt) {
			return nil, fmt.Errorf("authority: %s has no certificate", t.CA)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return newTLS(cfg), nil
}

// tlsCredentials are those of gRPC, but that clients need not negotiate the protocol: buildx
// does not, and gRPC refuses such clients.
type tlsCredentials struct {
	credentials.TransportCredentials
	cfg *tls.Config
}

func newTLS(cfg *tls.Config) credentials.TransportCredentials {
	return &tlsCredentials{credentials.NewTLS(cfg), cfg}
}

// ServerHandshake implements credentials.TransportCredentials. The server of gRPC has set a
// deadline.
func (c *tlsCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Server(raw, c.cfg)
	if err := conn.Handshake(); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (c *tlsCredentials) Clone() credentials.TransportCredentials { return newTLS(c.cfg.Clone()) }
