package netns

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"irkit.dev/irkit/agent/sockets"
	"irkit.dev/irkit/evidence"
)

// Flows are the TCP and UDP sockets of the namespace, with TCP's byte counters. Who
// holds them is not found here.
func Flows(ctx context.Context) ([]evidence.Flow, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	all := []evidence.Flow{}
	for _, read := range []func() ([]sockets.Socket, error){sockets.TCP, sockets.UDP} {
		got, err := read()
		if err != nil {
			return nil, fmt.Errorf("read flows: %w", err)
		}
		for _, s := range got {
			all = append(all, evidence.Flow{Proto: s.Proto, Local: s.Local, Remote: s.Remote, State: s.State,
				Inode: s.Inode, Sent: s.Acked, Recv: s.Recv})
		}
	}
	return all, nil
}

// Settle reads flows, waits d, and reads again. Moving are those whose counters rose
// meanwhile, and connections that came to stand: bytes went there and back. Flows that
// begin and end in the namespace are left out of moving, since no cut is to stop them;
// UDP has no counters, and never moves. The kubelet's probes are among the moving when
// one was under way.
func Settle(ctx context.Context, d time.Duration) (moving, flows []evidence.Flow, err error) {
	before, err := Flows(ctx)
	if err != nil {
		return nil, nil, err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("watch flows: %w", ctx.Err())
	case <-t.C:
	}
	flows, err = Flows(ctx)
	if err != nil {
		return nil, nil, err
	}
	own, err := ownAddresses()
	if err != nil {
		return nil, nil, err
	}
	return moved(before, flows, own), flows, nil
}

// moved picks the flows that moved between two readings.
func moved(before, after []evidence.Flow, own map[netip.Addr]bool) []evidence.Flow {
	type id struct {
		local, remote netip.AddrPort
		inode         uint64
	}
	then := map[id]evidence.Flow{}
	for _, f := range before {
		if f.Proto == "tcp" {
			then[id{f.Local, f.Remote, f.Inode}] = f
			then[id{f.Local, f.Remote, 0}] = f // what it becomes once its owner closed it
		}
	}
	moving := []evidence.Flow{}
	for _, f := range after {
		if f.Proto != "tcp" || f.State == "LISTEN" || f.Remote.Addr().IsLoopback() || own[f.Remote.Addr()] {
			continue
		}
		old, known := then[id{f.Local, f.Remote, f.Inode}]
		rose := f.Sent > old.Sent || f.Recv > old.Recv
		stood := f.State == "ESTABLISHED" && (!known || old.State == "SYN_SENT" || old.State == "SYN_RECV")
		if rose || stood {
			moving = append(moving, f)
		}
	}
	return moving
}

func ownAddresses() (map[netip.Addr]bool, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	own := map[netip.Addr]bool{}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			own[addr.Unmap()] = true
		}
	}
	return own, nil
}
