package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Lengths of struct inet_diag_req_v2 and inet_diag_msg (linux/inet_diag.h).
const (
	inetRequest = 56
	inetMessage = 72
)

const (
	diagInfo       = 2        // INET_DIAG_INFO: struct tcp_info
	allStates      = 0x1fff   // every TCP state, requests that wait included
	ackedInInfo    = 120      // tcpi_bytes_acked in struct tcp_info (linux/tcp.h), since Linux 4.1
	receivedInInfo = 120 + 8  // tcpi_bytes_received
	infoEnds       = 120 + 16 // older kernels answer with less
)

// TCP reads every TCP socket of both families, with byte counters where the kernel
// has sock_diag, else from /proc/net.
func TCP() ([]Socket, error) { return inet("tcp", unix.IPPROTO_TCP) }

// UDP reads every UDP socket of both families.
func UDP() ([]Socket, error) { return inet("udp", unix.IPPROTO_UDP) }

// Raw reads every raw IP socket of both families.
func Raw() ([]Socket, error) { return inet("raw", unix.IPPROTO_RAW) }

// UDPLite reads every UDP-Lite socket of both families, on kernels that have it.
func UDPLite() ([]Socket, error) { return inet("udplite", unix.IPPROTO_UDPLITE) }

// SCTP reads every SCTP endpoint and association of both families. Where SCTP is in use
// and the kernel does not answer for it, that is an error.
func SCTP() ([]Socket, error) {
	all, err := inet("sctp", unix.IPPROTO_SCTP)
	if err != nil || len(all) > 0 {
		return all, err
	}
	used := false
	err = lines("sctp/eps", func(line string) { used = used || line != "" })
	if err == nil && used {
		err = fmt.Errorf("%w, and there are endpoints (/proc/net/sctp/eps)", errNotThere)
	}
	return nil, err
}

// Ping reads every ICMP datagram socket of both families from /proc/net: the kernel has
// no sock_diag for them. The port is the ICMP identifier.
func Ping() ([]Socket, error) {
	var all []Socket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		got, err := procInet("icmp", family)
		if err != nil {
			return all, err
		}
		all = append(all, got...)
	}
	for i := range all {
		all[i].Proto = "ping"
	}
	return all, nil
}

func inet(proto string, number byte) ([]Socket, error) {
	var all []Socket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		got, err := inetFamily(proto, number, family)
		if err != nil {
			return all, err
		}
		all = append(all, got...)
	}
	return all, nil
}

func inetFamily(proto string, number, family byte) ([]Socket, error) {
	request := make([]byte, inetRequest)
	request[0], request[1] = family, number
	request[2] = 1 << (diagInfo - 1)
	binary.NativeEndian.PutUint32(request[4:], allStates)
	messages, err := ask(proto, request)
	if errors.Is(err, errNotThere) {
		return procInet(proto, family)
	}
	if err != nil {
		return nil, err
	}
	all := make([]Socket, 0, len(messages))
	for _, m := range messages {
		s, err := parseInet(proto, m)
		if err != nil {
			return all, fmt.Errorf("read an answer of sock_diag for %s: %w", proto, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// parseInet reads one struct inet_diag_msg and its attributes.
func parseInet(proto string, b []byte) (Socket, error) {
	if len(b) < inetMessage {
		return Socket{}, fmt.Errorf("%d bytes, want at least %d", len(b), inetMessage)
	}
	s := Socket{Proto: proto, State: stateName(b[1])}
	if proto == "sctp" && binary.BigEndian.Uint16(b[6:]) != 0 {
		s.State = associationName(b[1])
	}
	width := 16
	switch b[0] {
	case unix.AF_INET:
		s.Family, width = 4, 4
	case unix.AF_INET6:
		s.Family = 6
	default:
		return Socket{}, fmt.Errorf("address family %d", b[0])
	}
	s.Local = endpoint(b[8:8+width], binary.BigEndian.Uint16(b[4:]))
	s.Remote = endpoint(b[24:24+width], binary.BigEndian.Uint16(b[6:]))
	s.Device = binary.NativeEndian.Uint32(b[40:])
	s.RecvQ = binary.NativeEndian.Uint32(b[56:])
	s.SendQ = binary.NativeEndian.Uint32(b[60:])
	s.UID = binary.NativeEndian.Uint32(b[64:])
	s.Inode = uint64(binary.NativeEndian.Uint32(b[68:]))
	if proto != "tcp" {
		return s, nil
	}
	attributes(b[inetMessage:], func(kind uint16, v []byte) {
		if kind == diagInfo && len(v) >= infoEnds {
			s.Acked = binary.NativeEndian.Uint64(v[ackedInInfo:])
			s.Recv = binary.NativeEndian.Uint64(v[receivedInInfo:])
			s.Counted = true
		}
	})
	return s, nil
}

func endpoint(addr []byte, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// associationName is the kernel's name of an SCTP association's state (include/net/sctp/constants.h).
func associationName(n byte) string {
	names := [...]string{"CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_PENDING", "SHUTDOWN_SENT",
		"SHUTDOWN_RECEIVED", "SHUTDOWN_ACK_SENT"}
	if int(n) >= len(names) {
		return "UNKNOWN(" + strconv.Itoa(int(n)) + ")"
	}
	return names[n]
}

// stateName is the kernel's name of a TCP state (include/net/tcp_states.h).
func stateName(n byte) string {
	names := [...]string{1: "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
		"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"}
	if n == 0 || int(n) >= len(names) {
		return "UNKNOWN(" + strconv.Itoa(int(n)) + ")"
	}
	return names[n]
}
