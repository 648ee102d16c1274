package control

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
)

// Local are the credentials of unix sockets: the kernel says which user of this machine
// is at the other end. Other connections are as they come.
func Local() credentials.TransportCredentials { return local{} }

type local struct{}

// localInfo is who is at the other end of a unix socket.
type localInfo struct {
	credentials.CommonAuthInfo
	uid uint32
}

// AuthType implements credentials.AuthInfo.
func (localInfo) AuthType() string { return "local" }

// unknown is what is known of another connection.
type unknown struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (unknown) AuthType() string { return "unknown" }

// ServerHandshake implements credentials.TransportCredentials.
func (local) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	u, ok := conn.(syscall.Conn)
	if !ok || conn.LocalAddr().Network() != "unix" {
		return conn, unknown{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, nil, err
	}
	return conn, localInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, cred.Uid}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (local) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (local) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "local"}
}

// Clone implements credentials.TransportCredentials.
func (l local) Clone() credentials.TransportCredentials { return l }

// OverrideServerName implements credentials.TransportCredentials.
func (local) OverrideServerName(string) error { return nil }
