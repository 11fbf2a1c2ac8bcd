package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// The target and its peers hang on one wire. The node is the peer that may probe; the
// stranger is another address on the same wire; beyond lies behind the node as router.
const (
	target4, target6   = "10.9.0.2", "fd00:9::2"
	node4, node6       = "10.9.0.1", "fd00:9::1"
	stranger4          = "10.9.0.3"
	stranger6          = "fd00:9::3"
	beyond4, beyond6   = "10.77.0.1", "fd00:77::1"
	probePort, theCase = 8080, "case-1"
	patience           = 400 * time.Millisecond // for what should not be answered
	trust              = 5 * time.Second        // for what should
)

// space is a network namespace with a thread of its own in it.
type space struct {
	calls chan func()
	fd    int
}

func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- err
			return
		}
		var err error
		s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		ready <- err
		for call := range s.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		t.Skipf("no network namespace may be made (root is needed): %v", err)
	}
	t.Cleanup(func() { close(s.calls); unix.Close(s.fd) })
	return s
}

// do runs f on the thread in the namespace.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.calls <- func() { defer close(done); f() }
	<-done
}

func (s *space) must(t *testing.T, f func() error) {
	t.Helper()
	var err error
	s.do(func() { err = f() })
	if err != nil {
		t.Fatal(err)
	}
}

// wire makes two namespaces and the wire between them.
func wire(t *testing.T) (target, peer *space) {
	t.Helper()
	target, peer = newSpace(t), newSpace(t)
	target.must(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "wire", PeerNamespace: netlink.NsFd(peer.fd)})
	})
	target.must(t, func() error { return up("eth0", target4+"/24", target6+"/64") })
	peer.must(t, func() error {
		return up("wire", node4+"/24", node6+"/64", stranger4+"/24", stranger6+"/64", beyond4+"/24", beyond6+"/64")
	})
	target.must(t, func() error {
		for to, via := range map[string]string{"10.77.0.0/24": node4, "fd00:77::/64": node6} {
			_, dst, _ := net.ParseCIDR(to)
			if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
				return fmt.Errorf("route to %s: %w", to, err)
			}
		}
		return nil
	})
	// A link takes a moment until the kernel routes IPv6 over it: a closed port answers.
	for _, v := range []struct {
		s  *space
		to string
	}{{target, node6}, {peer, target6}, {target, node4}} {
		end := time.Now().Add(trust)
		for {
			_, err := v.s.dial("", 0, v.to, 1, 100*time.Millisecond)
			if errors.Is(err, unix.ECONNREFUSED) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the wire carries nothing to %s: %v", v.to, err)
			}
		}
	}
	return target, peer
}

func up(device string, addrs ...string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add %s: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// serve answers every byte on a TCP port with itself until the test ends.
func (s *space) serve(t *testing.T, addr string, port int) {
	t.Helper()
	s.must(t, func() error {
		l, err := (&net.ListenConfig{Control: sharePort}).Listen(t.Context(), "tcp", join2(addr, port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { c.Close() })
				go func() {
					b := make([]byte, 1)
					for {
						if _, err := c.Read(b); err != nil {
							c.Close()
							return
						}
						if _, err := c.Write(b); err != nil {
							return
						}
					}
				}()
			}
		}()
		return nil
	})
}

// dial connects from an address to an address, and has one byte come back.
func (s *space) dial(from string, fromPort int, to string, toPort int, wait time.Duration) (c net.Conn, err error) {
	s.do(func() {
		d := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from), Port: fromPort}}
		if c, err = d.Dial("tcp", join2(to, toPort)); err == nil {
			err = echo(c, wait)
		}
	})
	return c, err
}

// echo sends a byte and waits for it to come back.
func echo(c net.Conn, wait time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

func (s *space) reaches(t *testing.T, from, to string, port int) {
	t.Helper()
	c, err := s.dial(from, 0, to, port, trust)
	if err != nil {
		t.Errorf("%s does not reach %s port %d: %v", from, to, port, err)
		return
	}
	c.Close()
}

func (s *space) doesNotReach(t *testing.T, from, to string, port int) {
	t.Helper()
	c, err := s.dial(from, 0, to, port, patience)
	mustBeSilence(t, c, err)
}

// mustBeSilence fails when there was an answer of any kind, or when nothing was tried.
func mustBeSilence(t *testing.T, c net.Conn, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s reaches %s", c.LocalAddr(), c.RemoteAddr())
		c.Close()
		return
	}
	if silent, ok := errors.AsType[net.Error](err); !ok || !silent.Timeout() {
		t.Errorf("want silence, got %v", err)
	}
}

func join2(addr string, port int) string { return net.JoinHostPort(addr, fmt.Sprint(port)) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// probeHoles are the kubelet's, from the node in both families.
func probeHoles() []evidence.Hole {
	return []evidence.Hole{{Peer: ip(node4), Port: probePort, Why: "node address"}, {Peer: ip(node6), Port: probePort, Why: "node address"}}
}

// cutHere makes the cut in the target's namespace and takes it away after the test.
func (s *space) cutHere(t *testing.T, c agent.Cut, way egress) evidence.CutReport {
	t.Helper()
	var r evidence.CutReport
	s.must(t, func() (err error) { r, err = cut(t.Context(), c, way); return err })
	return r
}

func (s *space) report(t *testing.T) evidence.CutReport {
	t.Helper()
	var r evidence.CutReport
	s.must(t, func() (err error) { r, err = Report(t.Context(), theCase); return err })
	return r
}

// nft runs nft in the namespace.
func (s *space) nft(t *testing.T, args ...string) string { t.Helper(); return s.run(t, "nft", args...) }

// run runs a program of the system in the namespace, and skips the test without it.
func (s *space) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed (Debian packages nftables, iproute2)", program)
	}
	var out []byte
	s.do(func() { out, err = exec.Command(path, args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("%s %v: %v: %s", program, args, err, out)
	}
	return string(out)
}

func sysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
}

// ways are both means to hold the way out.
func ways() []egress { return []egress{netdevEgress, clsactEgress} }
