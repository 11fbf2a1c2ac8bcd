package sockets

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// pair opens a TCP connection on loopback and says something on it.
func pair(t *testing.T, network, address string) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("listen on %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { l.Close() })
	client, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if _, err := client.Write([]byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func at(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

func find(all []Socket, local, remote netip.AddrPort) (Socket, bool) {
	i := slices.IndexFunc(all, func(s Socket) bool { return s.Local == local && s.Remote == remote })
	if i < 0 {
		return Socket{}, false
	}
	return all[i], true
}

func TestTCPNamesAConnectionWithItsBytes(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		client, server := pair(t, "tcp", address)
		all, err := TCP()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := find(all, at(server.LocalAddr()), at(server.RemoteAddr()))
		if !ok {
			t.Fatalf("the server's end is not in %d sockets", len(all))
		}
		if got.State != "ESTABLISHED" || got.Inode == 0 || !got.Counted || got.Recv != 10 {
			t.Errorf("server's end: %+v, want ESTABLISHED with 10 bytes received and an inode", got)
		}
		sent, ok := find(all, at(client.LocalAddr()), at(client.RemoteAddr()))
		if !ok || sent.UID != uint32(os.Getuid()) {
			t.Errorf("client's end: %+v, %v", sent, ok)
		}
		listening, ok := find(all, at(server.LocalAddr()), netip.AddrPortFrom(zero(at(server.LocalAddr())), 0))
		if !ok || listening.State != "LISTEN" {
			t.Errorf("listener: %+v, %v", listening, ok)
		}
	}
}

func zero(a netip.AddrPort) netip.Addr {
	if a.Addr().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// The two sources must agree, since the second stands in for the first.
func TestProcAgreesWithSockDiag(t *testing.T) {
	_, server := pair(t, "tcp", "127.0.0.1:0")
	diag, err := TCP()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := procInet("tcp", unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	want, ok1 := find(diag, at(server.LocalAddr()), at(server.RemoteAddr()))
	got, ok2 := find(proc, at(server.LocalAddr()), at(server.RemoteAddr()))
	want.Acked, want.Recv, want.Counted = 0, 0, false
	if !ok1 || !ok2 || got != want {
		t.Errorf("proc says %+v, %v; sock_diag says %+v, %v", got, ok2, want, ok1)
	}
}

func TestUDPAndRawAndPacketSocketsAreSeen(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	all, err := UDP()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := find(all, at(u.LocalAddr()), netip.AddrPortFrom(netip.IPv4Unspecified(), 0)); !ok {
		t.Errorf("%s is not in %+v", u.LocalAddr(), all)
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		t.Skipf("no raw socket may be opened: %v", err)
	}
	defer unix.Close(raw)
	raws, err := Raw()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(raws, func(s Socket) bool { return s.Inode == inode(t, raw) }) {
		t.Errorf("raw socket %d is not in %+v", inode(t, raw), raws)
	}
	packet, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300)
	if err != nil {
		t.Skipf("no packet socket may be opened: %v", err)
	}
	defer unix.Close(packet)
	packets, err := PacketSockets()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(packets, func(p Packet) bool { return p.Inode == inode(t, packet) })
	if i < 0 || packets[i].Type != "raw" || packets[i].Proto != 3 {
		t.Errorf("packet socket %d is not in %+v", inode(t, packet), packets)
	}
}

func TestNetlinkVsockUDPLiteAndPingSocketsAreSeen(t *testing.T) {
	for name, c := range map[string]struct {
		family, kind, proto int
		seen                func(uint64) (bool, error)
	}{
		"netlink": {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, func(ino uint64) (bool, error) {
			all, err := NetlinkSockets()
			return slices.Contains(all, Netlink{Protocol: "route", Inode: ino}), err
		}},
		"vsock": {unix.AF_VSOCK, unix.SOCK_STREAM, 0, func(ino uint64) (bool, error) {
			all, err := VMSockets()
			return slices.ContainsFunc(all, func(s VM) bool { return s.Inode == ino && s.State == "LISTEN" && s.Local == "any:70001" }), err
		}},
		"udplite": {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE, func(ino uint64) (bool, error) {
			all, err := UDPLite()
			return slices.ContainsFunc(all, func(s Socket) bool { return s.Inode == ino }), err
		}},
		"ping": {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, func(ino uint64) (bool, error) {
			all, err := Ping()
			return slices.ContainsFunc(all, func(s Socket) bool { return s.Inode == ino && s.Proto == "ping" }), err
		}},
		"sctp": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP, func(ino uint64) (bool, error) {
			all, err := SCTP()
			return slices.ContainsFunc(all, func(s Socket) bool { return s.Inode == ino }), err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := unix.Socket(c.family, c.kind|unix.SOCK_CLOEXEC, c.proto)
			if err != nil {
				t.Skipf("no %s socket may be opened here: %v", name, err)
			}
			defer unix.Close(fd)
			switch c.family {
			case unix.AF_NETLINK: // gets its port here
				err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			case unix.AF_VSOCK:
				if err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: 70001}); err == nil {
					err = unix.Listen(fd, 1)
				}
			default:
				err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
			}
			if err == nil && name == "sctp" {
				err = unix.Listen(fd, 1)
			}
			if err != nil {
				t.Skipf("no %s socket may be bound here: %v", name, err)
			}
			ok, err := c.seen(inode(t, fd))
			if errors.Is(err, errNotThere) {
				t.Skipf("the kernel does not tell of %s sockets: %v", name, err)
			}
			if err != nil || !ok {
				t.Errorf("the socket was not seen: %v", err)
			}
		})
	}
}

func TestXDPSocketsAreCounted(t *testing.T) {
	_, before, err := XDPSockets()
	if err != nil {
		t.Fatal(err)
	}
	x, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no AF_XDP socket may be opened: %v", err)
	}
	defer unix.Close(x)
	if _, now, err := XDPSockets(); err != nil || now != before+1 {
		t.Errorf("%d AF_XDP sockets, %v; want %d", now, err, before+1)
	}
}

func TestUnixDomainKeepsHostileNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a\nb 0 1")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("listen on %q: %v", path, err)
	}
	defer l.Close()
	all, err := UnixDomain()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(u Unix) bool { return u.Name == path })
	if i < 0 || all[i].State != "LISTEN" || all[i].Type != "stream" {
		t.Errorf("%q is not in %+v", path, all)
	}
}

func inode(t *testing.T, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}
