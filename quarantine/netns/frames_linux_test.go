package netns

import (
	"encoding/binary"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// dialReusing dials from a port that a listener may hold, as a suspect would.
func (s *space) dialReusing(from string, fromPort int, to string, toPort int, wait time.Duration) (c net.Conn, err error) {
	s.do(func() {
		d := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from), Port: fromPort}, Control: sharePort}
		if c, err = d.Dial("tcp", join2(to, toPort)); err == nil {
			err = echo(c, wait)
		}
	})
	return c, err
}

func sharePort(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
}

// ping sends an ICMP echo request over a raw socket, and waits for the reply.
func (s *space) ping(t *testing.T, from, to string, wait time.Duration) (answered bool) {
	t.Helper()
	s.must(t, func() error {
		c, err := net.ListenPacket("ip4:icmp", from)
		if err != nil {
			return err
		}
		defer c.Close()
		echo := []byte{8, 0, 0, 0, 0, 1, 0, 1}
		binary.BigEndian.PutUint16(echo[2:], ^uint16(0x0800+1+1))
		if _, err := c.WriteTo(echo, &net.IPAddr{IP: net.ParseIP(to)}); err != nil {
			return nil // refused by the cut
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		for b := make([]byte, 1500); ; {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return nil
			}
			if answered = n >= 8 && b[0] == 0; answered {
				return nil
			}
		}
	})
	return answered
}

func forgetNeighbours() error {
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := netlink.NeighList(0, f)
		if err != nil {
			return err
		}
		for _, n := range all {
			if n.State&(netlink.NUD_NOARP|netlink.NUD_PERMANENT) == 0 {
				_ = netlink.NeighDel(&n)
			}
		}
	}
	return nil
}

func TestUDPAndICMPStop(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		heard := peer.hear(t)
		if !target.ping(t, target4, node4, trust) {
			t.Fatal("before the cut no ping is answered")
		}
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		if target.ping(t, target4, node4, patience) {
			t.Error("a ping of the node is answered after the cut")
		}
		if peer.ping(t, node4, target4, patience) {
			t.Error("the node's ping is answered after the cut")
		}
		target.do(func() {
			for _, to := range []string{node4, node6} {
				if c, err := net.Dial("udp", join2(to, probePort)); err == nil {
					_, _ = c.Write([]byte("udp-load-that-must-not-pass"))
					c.Close()
				}
			}
		})
		heard.mustNotHear(t, "udp-load-that-must-not-pass")
	})
}

// A root suspect's packet socket passes the IP layer's hooks; it must not pass the cut.
func TestPacketSocketDoesNotPass(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		heard := peer.hear(t)
		send := func(bypass bool, protocol uint16, frame []byte) error {
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if bypass {
				if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
					return err
				}
			}
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			_ = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: l.Attrs().Index})
			return nil
		}
		broadcast := func(etherType uint16, load []byte) []byte {
			f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1}, be16(etherType)...)
			return append(f, load...)
		}
		target.must(t, func() error { return send(false, 0x88b5, broadcast(0x88b5, []byte("before the cut"))) })
		heard.mustHear(t, "before the cut")
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		tcp := func(flags byte, load string) []byte {
			p := append([]byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1},
				0x1f, 0x90, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0)
			p = append(p, load...)
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
			return p
		}
		loads := map[uint16][][]byte{
			0x88b5:         {[]byte("load-of-no-protocol")},
			unix.ETH_P_IP:  {tcp(tcpSYN, "load-with-syn"), tcp(tcpACK, "load-with-ack"), tcp(tcpSYN|tcpACK, "load-with-both")},
			unix.ETH_P_ARP: {append(arpAsk(stranger4), []byte("load-in-arp-for-a-stranger")...), append(arpAsk(node4), make([]byte, 60)...)},
		}
		for protocol, frames := range loads {
			for i, f := range frames {
				for _, bypass := range []bool{false, true} {
					if bypass && way == clsactEgress {
						continue // it passes there, which Weak says
					}
					load := append(f, fmt.Sprintf(" marked-frame-%d", i)...)
					target.must(t, func() error { return send(bypass, protocol, broadcast(protocol, load)) })
				}
			}
		}
		heard.mustNotHear(t, "marked-frame-")
	})
}

// arpAsk is a request for the address of another (RFC 826).
func arpAsk(who string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 9, 0, 2, 0, 0, 0, 0, 0, 0}
	return append(b, ip(who).AsSlice()...)
}

func TestARPIsForPeersAlone(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", probePort)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		for _, s := range []*space{target, peer} {
			s.must(t, forgetNeighbours)
		}
		heard := peer.hear(t)
		target.ping(t, target4, stranger4, patience)
		peer.reaches(t, node4, target4, probePort)
		peer.reaches(t, node6, target6, probePort)
		heard.mustNotHear(t, string(ip(stranger4).AsSlice()))
	})
}

// ear hears every frame that reaches the peer from the target.
type ear struct {
	s  *space
	fd int
}

func (s *space) hear(t *testing.T) *ear {
	t.Helper()
	e := &ear{s: s}
	s.must(t, func() (err error) {
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.ETH_P_ALL<<8); err != nil {
			return err
		}
		l, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		return unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL << 8, Ifindex: l.Attrs().Index})
	})
	t.Cleanup(func() { unix.Close(e.fd) })
	return e
}

// heard reads what came within a wait, without what the peer itself sent.
func (e *ear) heard(wait time.Duration, want string) bool {
	end := time.Now().Add(wait)
	b := make([]byte, 4096)
	for time.Now().Before(end) {
		n, from, err := unix.Recvfrom(e.fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if containsBytes(b[:n], want) {
			return true
		}
	}
	return false
}

func containsBytes(b []byte, want string) bool {
	for i := 0; i+len(want) <= len(b); i++ {
		if string(b[i:i+len(want)]) == want {
			return true
		}
	}
	return false
}

func (e *ear) mustHear(t *testing.T, want string) {
	t.Helper()
	if !e.heard(trust, want) {
		t.Errorf("the peer does not hear %q", want)
	}
}

func (e *ear) mustNotHear(t *testing.T, want string) {
	t.Helper()
	if e.heard(patience, want) {
		t.Errorf("the peer hears %q", want)
	}
}
