// Package sockets reads the socket tables of a network namespace: what sock_diag
// and /proc/net say, as plain values. It changes nothing, keeps nothing, and knows
// neither processes nor rules: who holds an inode is for the caller to find.
//
// Every function reads the namespace of the calling thread. A caller that entered
// another namespace with setns must have locked its goroutine to the thread.
package sockets

import (
	"errors"
	"net/netip"
)

// ErrUnsupported says that this system has no such tables.
var ErrUnsupported = errors.New("socket tables are read on Linux only")

// Socket is one TCP, UDP or raw IP socket.
type Socket struct {
	Proto  string         // tcp, udp, udplite, sctp, raw, ping
	Family int            // 4 or 6; a v4-mapped address of a v6 socket is given as v4
	State  string         // ESTABLISHED, LISTEN, …; for udp and raw: ESTABLISHED or CLOSE
	Local  netip.AddrPort // of a raw socket the port is its IP protocol number
	Remote netip.AddrPort
	UID    uint32
	Inode  uint64 // 0: no longer held by a process, as in TIME_WAIT
	Device uint32 // interface index that it is bound to; 0: any
	RecvQ  uint32 // bytes; of a TCP listener connections that wait
	SendQ  uint32 // bytes; of a TCP listener the backlog's size
	Acked  uint64 // bytes of ours that the peer acknowledged (tcp_info, TCP only)
	Recv   uint64 // bytes received (tcp_info, TCP only)
	// Counted says that Acked and Recv were read; false where only /proc could be had.
	Counted bool
}

// Unix is one Unix domain socket.
type Unix struct {
	Type  string // stream, dgram, seqpacket
	State string // ESTABLISHED, LISTEN, CLOSE (not connected)
	// Name is the path, or "@" and the abstract name; the target's words, any bytes.
	Name  string
	Inode uint64
	Peer  uint64 // inode of the other end, which may be in another namespace; 0: unknown
}

// Packet is one AF_PACKET socket: it sees frames before the IP layer.
type Packet struct {
	Type   string // raw (with link-layer header), dgram
	Proto  uint16 // EtherType; 3 is every protocol
	Device int    // interface index; 0: any
	UID    uint32
	Inode  uint64
}

// XDP is one AF_XDP socket: it passes netfilter and traffic control.
type XDP struct {
	Device int // interface index; 0: not bound
	Queue  uint32
	Inode  uint64
}

// VM is one AF_VSOCK socket: it reaches the machine's host or its guests, past every
// packet filter.
type VM struct {
	Type   string
	State  string
	Local  string // "context ID:port"; "any" is no number of its own
	Remote string
	Inode  uint64
}

// Netlink is one AF_NETLINK socket that a process opened.
type Netlink struct {
	Protocol string // route, sock_diag, audit, …, or a number
	Inode    uint64
}
