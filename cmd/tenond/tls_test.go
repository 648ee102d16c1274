package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tenonbuild/tenon/internal/check"
)

// ownCertificate makes a certificate that is its own authority, in files.
func ownCertificate(t *testing.T) tlsFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.OK(t, err)
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"tenond"}, ExtKeyUsage: usages,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	signed, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	check.OK(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	check.OK(t, err)
	write := func(name, typ string, dt []byte) string {
		file := filepath.Join(t.TempDir(), name)
		check.OK(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: dt}), 0o600))
		return file
	}
	file := write("cert.pem", "CERTIFICATE", signed)
	return tlsFiles{Cert: file, Key: write("key.pem", "EC PRIVATE KEY", private), CA: file}
}

// Who has a certificate is served by tcp, also by a client that does not negotiate HTTP/2, as
// buildx has it; who has none is not.
func TestTLSClients(t *testing.T) {
	files := ownCertificate(t)
	creds, err := files.credentials()
	check.OK(t, err)
	s := grpc.NewServer(grpc.Creds(creds))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check.OK(t, err)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	defer func() {
		s.Stop()
		check.OK(t, <-served)
	}()

	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	check.OK(t, err)
	pool := x509.NewCertPool()
	dt, err := os.ReadFile(files.CA)
	check.OK(t, err)
	check.Equal(t, "authority", pool.AppendCertsFromPEM(dt), true)
	known := &tls.Config{ServerName: "tenond", RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	stranger := known.Clone()
	stranger.Certificates = nil
	for name, c := range map[string]struct {
		ok   bool
		opts []grpc.DialOption
	}{
		"gRPC's": {true, []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(known))}},
		"buildx's": {true, []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(_ context.Context, addr string) (net.Conn, error) { return tls.Dial("tcp", addr, known) }),
		}},
		"a stranger's": {false, []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(stranger))}},
	} {
		conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), c.opts...)
		check.OK(t, err)
		_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if (err == nil) != c.ok {
			t.Errorf("%s client: %v", name, err)
		}
		check.OK(t, conn.Close())
	}
}
