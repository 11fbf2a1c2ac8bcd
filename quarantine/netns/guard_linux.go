package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// refuseNode lists the devices to cover, and refuses a namespace that is the node's:
// one that has a node's address, or, seen from the initial PID namespace, that of its
// first process.
func refuseNode(node []netip.Addr) ([]device, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		if ok && !addr.IsLoopback() && slices.ContainsFunc(node, func(n netip.Addr) bool { return n.Unmap().WithZone("") == addr }) {
			return nil, fmt.Errorf("%w: it has the node's address %s", agent.ErrNodeNetwork, addr)
		}
	}
	if inInitialPIDs() {
		first, err1 := os.Readlink("/proc/1/ns/net")
		ours, err2 := os.Readlink("/proc/thread-self/ns/net")
		if err1 == nil && err2 == nil && first == ours {
			return nil, fmt.Errorf("%w: it is that of the node's first process", agent.ErrNodeNetwork)
		}
	}
	var devices []device
	for _, l := range links {
		if l.Attrs().RawFlags&unix.IFF_LOOPBACK == 0 {
			devices = append(devices, device{index: l.Attrs().Index, name: l.Attrs().Name})
		}
	}
	return devices, nil
}

// inInitialPIDs reports that this process sees the whole node's processes: its PID
// namespace is the first (PROC_PID_INIT_INO in linux/proc_ns.h).
func inInitialPIDs() bool {
	pids, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && pids == "pid:[4026531836]"
}
