//go:build linux

package inside

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

const (
	packetWindow  = 30 * time.Second // when a request says nothing
	packetLongest = time.Hour
	packetBytes   = 64 << 20 // when a request says nothing
	packetBuffer  = 4 << 20  // in the kernel
)

// packets records what passes the devices of the calling thread's network namespace, for a
// time and up to a size. It takes CAP_NET_RAW. Of the node's own namespace nothing is taken:
// what passes there is everybody's.
func (b beside) packets(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("packets", "pcapng", "application/x-pcapng", collectors.RankRecovered, evidence.Restricted)
	h.Detail = "packets of the pod's network namespace"
	if v := b.look(); v.onNode {
		ours, err := os.Readlink(b.proc.path("thread-self", "ns", "net"))
		if err != nil || bracketed(ours, "net:") == b.proc.namespace(1, "net") {
			return absent(h, evidence.LeftOut, emit, "this is the node's own network: what passes there is not the target's alone")
		}
	}
	// Opened here, not in the stream's goroutine: a socket is of its thread's namespace.
	fd, err := packetSocket()
	if errors.Is(err, unix.EPERM) {
		return absent(h, evidence.Impossible, emit, "packet socket: %s; the hand has no NET_RAW: it was started when packets were not asked for, or admission refuses it", cause(err))
	}
	if err != nil {
		return absent(h, evidence.Impossible, emit, "packet socket: %s", cause(err))
	}
	names := map[int]string{}
	if devices, err := net.Interfaces(); err == nil {
		for _, d := range devices {
			names[d.Index] = d.Name
		}
	}
	c := capture{fd: fd, out: &pcapng{names: names}, window: packetWindow, max: packetBytes}
	if q.Window > 0 {
		c.window = min(q.Window, packetLongest)
	}
	if q.MaxBytes > 0 {
		c.max = q.MaxBytes
	}
	closed := false
	defer func() {
		if !closed {
			unix.Close(fd)
		}
	}()
	return stream(ctx, h, 0, emit, func(o *out) error {
		closed = true
		defer unix.Close(fd)
		return c.run(ctx, o)
	})
}

// packetSocket sees every packet of every device, in and out.
func packetSocket() (int, error) {
	all := int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return -1, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, packetBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, packetBuffer) // as much as is allowed
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// capture is one recording.
type capture struct {
	fd     int
	out    *pcapng
	window time.Duration
	max    int64
	kept   int
	lost   uint64 // packets that the kernel saw and dropped
	seen   uint64
}

func (c *capture) run(ctx context.Context, o *out) error {
	c.out.w = o
	began := time.Now()
	if err := c.out.begin(); err != nil {
		return err
	}
	if err := o.w.Flush(); err != nil { // so that the entry is there from the start
		return err
	}
	buf, control := make([]byte, snapLength), make([]byte, 128)
	full := false
	for !full && time.Since(began) < c.window {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, k, _, from, err := unix.Recvmsg(c.fd, buf, control, unix.MSG_TRUNC)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil && err != unix.ENETDOWN { // a device that went down says so once
			return fmt.Errorf("receive packets: %w", err)
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		// Each packet on the loopback device comes twice: once is enough.
		if at.Hatype == hardwareLoopback && at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		data := buf[:min(n, len(buf))]
		if full = o.n+int64(len(data))+256+int64(len(c.out.ids)+1)*64 > c.max; full {
			break
		}
		if err := c.keep(at, stamp(control[:k]), n, data); err != nil {
			return err
		}
	}
	c.count()
	if err := c.out.end(time.Now(), c.seen, c.lost); err != nil {
		return err
	}
	o.note("%d packets in %s; %d more were dropped by the kernel, since the reader was late", c.kept, time.Since(began).Round(time.Millisecond), c.lost)
	o.note("what the cut or another filter drops on its way out is not seen")
	if full {
		return fmt.Errorf("%d bytes of packets, after %s: %w", c.max, time.Since(began).Round(time.Millisecond), ErrLimit)
	}
	return nil
}

func (c *capture) keep(at *unix.SockaddrLinklayer, when time.Time, length int, data []byte) error {
	id, err := c.out.device(at.Ifindex, at.Hatype)
	if err != nil {
		return err
	}
	direction := directionIn
	if at.Pkttype == unix.PACKET_OUTGOING {
		direction = directionOut
	}
	c.kept++
	return c.out.packet(id, when, direction, length, data)
}

// count adds what the kernel counted since it was last asked.
func (c *capture) count() {
	if s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		c.seen, c.lost = c.seen+uint64(s.Packets), c.lost+uint64(s.Drops)
	}
}

// stamp is when the kernel had the packet; now where it does not say.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			ne := binary.NativeEndian
			return time.Unix(int64(ne.Uint64(m.Data)), int64(ne.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}
