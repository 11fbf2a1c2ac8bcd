package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// From linux/xdp_diag.h.
const (
	xdpRequest  = 20
	xdpMessage  = 16
	xdpDiagInfo = 1
	xdpShowInfo = 1 << 0
)

// PacketSockets reads every AF_PACKET socket from /proc/net/packet.
func PacketSockets() ([]Packet, error) {
	var all []Packet
	err := lines("packet", func(line string) {
		if p, err := parsePacket(line); err == nil {
			all = append(all, p)
		}
	})
	return all, err
}

// parsePacket reads one line of /proc/net/packet: sk RefCnt Type Proto Iface R Rmem
// User Inode.
func parsePacket(line string) (Packet, error) {
	f := strings.Fields(line)
	if len(f) < 9 {
		return Packet{}, fmt.Errorf("packet socket line %q: want 9 fields, got %d", line, len(f))
	}
	kind, err1 := strconv.ParseUint(f[2], 10, 16)
	proto, err2 := strconv.ParseUint(f[3], 16, 16)
	device, err3 := strconv.ParseInt(f[4], 10, 32)
	uid, err4 := strconv.ParseUint(f[7], 10, 32)
	inode, err5 := strconv.ParseUint(f[8], 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return Packet{}, fmt.Errorf("packet socket line %q: %w", line, err)
	}
	return Packet{Type: typeName(kind), Proto: uint16(proto), Device: int(device), UID: uint32(uid), Inode: inode}, nil
}

// XDPSockets reads the AF_XDP sockets that xdp_diag names, and how many the kernel
// counts in the namespace (/proc/net/protocols). The count holds where the kernel has
// no xdp_diag; then the list is empty.
func XDPSockets() ([]XDP, int, error) {
	count := 0
	if err := lines("protocols", func(line string) {
		if n, ok := parseProtocol(line, "XDP"); ok {
			count = n
		}
	}); err != nil {
		return nil, 0, err
	}
	request := make([]byte, xdpRequest)
	request[0] = unix.AF_XDP
	binary.NativeEndian.PutUint32(request[8:], xdpShowInfo)
	messages, err := ask("xdp", request)
	if errors.Is(err, errNotThere) {
		return nil, count, nil
	}
	if err != nil {
		return nil, count, err
	}
	var all []XDP
	for _, m := range messages {
		x, err := parseXDP(m)
		if err != nil {
			return all, count, fmt.Errorf("read an answer of sock_diag for xdp: %w", err)
		}
		all = append(all, x)
	}
	return all, max(count, len(all)), nil
}

// parseXDP reads one struct xdp_diag_msg and its attributes.
func parseXDP(b []byte) (XDP, error) {
	if len(b) < xdpMessage {
		return XDP{}, fmt.Errorf("%d bytes, want at least %d", len(b), xdpMessage)
	}
	x := XDP{Inode: uint64(binary.NativeEndian.Uint32(b[4:]))}
	attributes(b[xdpMessage:], func(kind uint16, v []byte) {
		if kind == xdpDiagInfo && len(v) >= 8 {
			x.Device = int(binary.NativeEndian.Uint32(v))
			x.Queue = binary.NativeEndian.Uint32(v[4:])
		}
	})
	return x, nil
}

// parseProtocol reads the number of sockets from a line of /proc/net/protocols.
func parseProtocol(line, want string) (int, bool) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != want {
		return 0, false
	}
	n, err := strconv.Atoi(f[2])
	return n, err == nil
}
