package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

const (
	// patrol is how long a change that the kernel did not tell of may stay: devices that
	// came, filters of traffic control, notices that were lost.
	patrol = 2 * time.Second
	// again is how long a rule that could not be put back waits for the next try.
	again = 50 * time.Millisecond
)

// Keep watches the packet filter of the calling thread's network namespace, and puts the
// cut back as soon as it is not whole: the kernel tells of every change (nfnetlink group
// NFNLGRP_NFTABLES), so that a reopening lasts for milliseconds. told hears of each time.
// What the target can take away, it can take away again: this is a brake, no lock.
//
// Keep blocks until ctx ends, or another irkit lifts the cut, which is ErrLifted. A
// target with NET_ADMIN could feign the latter: who relies on the cut asks for it again.
func Keep(ctx context.Context, c agent.Cut, told func(Repair)) error {
	return keep(ctx, c, netdevEgress, told)
}

func keep(ctx context.Context, c agent.Cut, way egress, told func(Repair)) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("keep the cut of case %s: %w", c.Case, err)
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(buffers) // without the right to it, notices may be lost, and the patrol sees
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("keep the cut of case %s: listen for changes of the packet filter: %w", c.Case, err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("keep the cut of case %s: %w", c.Case, err)
	}
	k := keeper{conn: conn, raw: raw, mark: append([]byte(liftMark(c.Case)), 0)}
	wait := time.Microsecond // what changed before the kernel told us
	for {
		if err := k.wait(ctx, wait); err != nil {
			return err
		}
		heard := time.Now()
		if k.lifted {
			return ErrLifted
		}
		wait = patrol
		_, done, err := ensure(ctx, c, way, k.still)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrLifted), errors.Is(err, agent.ErrNodeNetwork):
			return err
		case err != nil:
			wait = again
		}
		if done == repaired { // also when it was taken away again before it could be read
			now := time.Now()
			told(Repair{At: now.UTC(), Open: now.Sub(heard)})
		}
	}
}

// keeper is what listens to the kernel.
type keeper struct {
	conn   *netlink.Conn
	raw    syscall.RawConn
	mark   []byte
	lifted bool
}

// wait ends with the first notices, or after so long.
func (k *keeper) wait(ctx context.Context, most time.Duration) error {
	if err := k.conn.SetReadDeadline(time.Now().Add(most)); err != nil {
		return fmt.Errorf("listen for changes of the packet filter: %w", err)
	}
	if ctx.Err() != nil { // the deadline of its end may have been set over
		return ctx.Err()
	}
	messages, err := k.conn.Receive()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ENOBUFS):
		return nil
	default:
		return fmt.Errorf("listen for changes of the packet filter: %w", err)
	}
	for _, m := range messages {
		k.lifted = k.lifted || bytes.Contains(m.Data, k.mark)
	}
	return nil
}

// still drains the notices that came since: the one that the cut was lifted came before
// its tables went.
func (k *keeper) still() bool {
	b := make([]byte, 64<<10)
	err := k.raw.Control(func(fd uintptr) {
		for range 1000 { // a target may change rules without an end
			n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				return
			}
			k.lifted = k.lifted || err == nil && bytes.Contains(b[:n], k.mark)
		}
	})
	return err == nil && !k.lifted
}

// liftMark is the name of a table that Lift makes, and takes away with the cut.
func liftMark(caseID string) string { return "lifted-" + prefix + caseID }
