package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lengths of struct vsock_diag_req and vsock_diag_msg (linux/vm_sockets_diag.h).
const (
	vmRequest = 24
	vmMessage = 32
)

// VMSockets reads every AF_VSOCK socket of the namespace.
func VMSockets() ([]VM, error) {
	request := make([]byte, vmRequest)
	request[0] = unix.AF_VSOCK
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0))
	messages, err := ask("vsock", request)
	if err != nil {
		return nil, err
	}
	var all []VM
	for _, m := range messages {
		s, err := parseVM(m)
		if err != nil {
			return all, fmt.Errorf("read an answer of sock_diag for vsock: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// parseVM reads one struct vsock_diag_msg.
func parseVM(b []byte) (VM, error) {
	if len(b) < vmMessage {
		return VM{}, fmt.Errorf("%d bytes, want at least %d", len(b), vmMessage)
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	return VM{
		Type: typeName(uint64(b[1])), State: stateName(b[2]),
		Local: vmAddress(word(4), word(8)), Remote: vmAddress(word(12), word(16)), Inode: uint64(word(20)),
	}, nil
}

func vmAddress(cid, port uint32) string {
	name := func(n uint32) string {
		if n == unix.VMADDR_CID_ANY {
			return "any"
		}
		return strconv.FormatUint(uint64(n), 10)
	}
	return name(cid) + ":" + name(port)
}

// netlinkNames are the families that an intruder may use, or watch (linux/netlink.h).
var netlinkNames = map[uint64]string{
	unix.NETLINK_ROUTE: "route", unix.NETLINK_SOCK_DIAG: "sock_diag", unix.NETLINK_NFLOG: "nflog", unix.NETLINK_XFRM: "xfrm",
	unix.NETLINK_SELINUX: "selinux", unix.NETLINK_AUDIT: "audit", unix.NETLINK_CONNECTOR: "connector",
	unix.NETLINK_NETFILTER: "netfilter", unix.NETLINK_KOBJECT_UEVENT: "kobject_uevent", unix.NETLINK_GENERIC: "generic",
	unix.NETLINK_CRYPTO: "crypto",
}

// NetlinkSockets reads the AF_NETLINK sockets from /proc/net/netlink; the kernel's own
// ends (port 0) are not among them.
func NetlinkSockets() ([]Netlink, error) {
	var all []Netlink
	err := lines("netlink", func(line string) {
		if s, port, err := parseNetlink(line); err == nil && port != 0 {
			all = append(all, s)
		}
	})
	return all, err
}

// parseNetlink reads one line of /proc/net/netlink: sk Eth Pid Groups Rmem Wmem Dump
// Locks Drops Inode.
func parseNetlink(line string) (Netlink, uint64, error) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return Netlink{}, 0, fmt.Errorf("netlink socket line %q: want 10 fields, got %d", line, len(f))
	}
	protocol, err1 := strconv.ParseUint(f[1], 10, 16)
	port, err2 := strconv.ParseUint(f[2], 10, 32)
	inode, err3 := strconv.ParseUint(f[9], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Netlink{}, 0, fmt.Errorf("netlink socket line %q: %w", line, err)
	}
	name, ok := netlinkNames[protocol]
	if !ok {
		name = strconv.FormatUint(protocol, 10)
	}
	return Netlink{Protocol: name, Inode: inode}, port, nil
}
