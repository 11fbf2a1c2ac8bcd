package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/evidence"
)

// glance is how long a wait lasts before the context is looked at again.
const glance = 20 * time.Millisecond

// Probe tries all probes at once, for at most limit (150 ms when 0), and says of each
// whether something answered. A probe of tcp is answered by a connection, and also by
// a reset: packets went there and back. A probe of udp is a DNS question for
// kubernetes.default.svc, answered by any well-formed reply to it, whatever it says.
// An ICMP error, a refusal by this host and silence are no answer. An inbound probe is
// not tried here. It makes no rule and leaves no connection.
func Probe(ctx context.Context, probes []evidence.Probe, limit time.Duration) []evidence.ProbeResult {
	return tryAll(ctx, probes, limit, nil)
}

// try is one probe on its way.
type try struct {
	result   evidence.ProbeResult
	fd       int
	local    netip.AddrPort
	question []byte
	done     bool
}

// end says how it went, once.
func (t *try) end(answered bool, err error) {
	if t.done {
		return
	}
	t.done = true
	t.result.Took = time.Since(t.result.At)
	t.result.Answered = answered
	if err != nil {
		t.result.Error = err.Error()
	}
}

// tryAll makes every socket on this thread, calls ready with those that are bound, then
// connects and waits for all together.
func tryAll(ctx context.Context, probes []evidence.Probe, limit time.Duration, ready func([]*try)) []evidence.ProbeResult {
	if limit <= 0 {
		limit = 150 * time.Millisecond
	}
	tries := make([]*try, len(probes))
	for i, p := range probes {
		t := &try{result: evidence.ProbeResult{Probe: p, At: time.Now().UTC()}, fd: -1}
		tries[i] = t
		if err := t.prepare(ready != nil); err != nil {
			t.end(false, err)
		}
		if t.fd >= 0 {
			defer unix.Close(t.fd)
		}
	}
	if ready != nil {
		ready(tries)
	}
	deadline := time.Now().Add(limit)
	for _, t := range tries {
		t.begin()
	}
	for wait(ctx, tries, deadline) {
	}
	results := make([]evidence.ProbeResult, len(tries))
	for i, t := range tries {
		if err := ctx.Err(); err != nil {
			t.end(false, err)
		}
		t.end(false, fmt.Errorf("no answer within %s", limit))
		results[i] = t.result
	}
	return results
}

// prepare makes the socket, and binds it to the address and a port of its own when a
// pinhole is to be made for it.
func (t *try) prepare(bind bool) error {
	p := t.result.Probe
	if p.Inbound {
		return errors.New("an inbound probe is tried from outside")
	}
	kind := unix.SOCK_STREAM
	switch p.Proto {
	case "tcp":
	case "udp":
		kind = unix.SOCK_DGRAM
		var err error
		if t.question, err = dnsQuestion(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("probe over %q: want tcp or udp", p.Proto)
	}
	addr := p.Addr.Addr().Unmap()
	if !addr.IsValid() || addr.IsMulticast() || p.Addr.Port() == 0 {
		return fmt.Errorf("probe %s: want an address and a port", p.Addr)
	}
	domain, level, option := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	if addr.Is4() {
		domain, level, option = unix.AF_INET, unix.IPPROTO_IP, unix.IP_RECVERR
	}
	var err error
	if t.fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		t.fd = -1
		return fmt.Errorf("open a socket: %w", err)
	}
	// The error queue tells an ICMP error, which may be a firewall's, from a reset.
	if err := unix.SetsockoptInt(t.fd, level, option, 1); err != nil {
		return fmt.Errorf("ask for ICMP errors: %w", err)
	}
	if kind == unix.SOCK_STREAM {
		// A reset at the end: a FIN into the cut would be sent again for minutes.
		if err := unix.SetsockoptLinger(t.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return fmt.Errorf("set linger: %w", err)
		}
	}
	if !bind {
		return nil
	}
	source, err := sourceFor(addr)
	if err != nil {
		return err
	}
	if err := unix.Bind(t.fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to %s: %w", source, err)
	}
	name, err := unix.Getsockname(t.fd)
	if err != nil {
		return fmt.Errorf("read the port bound to: %w", err)
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		t.local = netip.AddrPortFrom(source, uint16(a.Port))
	case *unix.SockaddrInet6:
		t.local = netip.AddrPortFrom(source, uint16(a.Port))
	}
	return nil
}

// begin connects.
func (t *try) begin() {
	if t.done {
		return
	}
	t.result.At = time.Now().UTC()
	err := unix.Connect(t.fd, sockaddr(netip.AddrPortFrom(t.result.Addr.Addr().Unmap(), t.result.Addr.Port())))
	if t.question == nil {
		switch {
		case err == nil:
			t.end(true, nil)
		case !errors.Is(err, unix.EINPROGRESS):
			t.end(false, fmt.Errorf("connect: %w", err))
		}
		return
	}
	if err == nil {
		_, err = unix.Write(t.fd, t.question)
	}
	if err != nil {
		t.end(false, fmt.Errorf("ask: %w", err))
	}
}

// wait waits a glance for those that are not done, and reports whether to go on.
func wait(ctx context.Context, tries []*try, deadline time.Time) bool {
	var fds []unix.PollFd
	var of []*try
	for _, t := range tries {
		if t.done {
			continue
		}
		events := int16(unix.POLLOUT)
		if t.question != nil {
			events = unix.POLLIN
		}
		fds, of = append(fds, unix.PollFd{Fd: int32(t.fd), Events: events}), append(of, t)
	}
	left := time.Until(deadline)
	if len(fds) == 0 || left <= 0 || ctx.Err() != nil {
		return false
	}
	// Rounded up, else the last fraction of a millisecond is spent without waiting.
	if _, err := unix.Poll(fds, int((min(left, glance)+time.Millisecond-1)/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
		for _, t := range of {
			t.end(false, fmt.Errorf("wait for an answer: %w", err))
		}
		return false
	}
	for i, fd := range fds {
		if fd.Revents != 0 {
			of[i].look()
		}
	}
	return true
}

// look reads what came.
func (t *try) look() {
	code, err := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		t.end(false, fmt.Errorf("read the outcome: %w", err))
		return
	}
	if icmp := t.icmp(); icmp != nil {
		t.end(false, icmp)
		return
	}
	if t.question == nil {
		switch reset := syscall.Errno(code); reset {
		case 0:
			t.end(true, nil)
		case unix.ECONNREFUSED, unix.ECONNRESET:
			t.end(true, fmt.Errorf("answered with a reset: %w", reset))
		default:
			t.end(false, fmt.Errorf("connect: %w", reset))
		}
		return
	}
	if code != 0 {
		t.end(false, fmt.Errorf("ask: %w", syscall.Errno(code)))
		return
	}
	reply := make([]byte, 1500)
	n, _, err := unix.Recvfrom(t.fd, reply, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN):
	case err != nil:
		t.end(false, fmt.Errorf("ask: %w", err))
	case dnsAnswers(t.question, reply[:n]):
		t.end(true, nil)
	}
}

// icmp is the ICMP error that ended the try, or nil.
func (t *try) icmp() error {
	control := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(t.fd, make([]byte, 1), control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return nil //nolint:nilerr // nothing is queued: no ICMP error ended it
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil //nolint:nilerr // what is no control message tells of no ICMP error
	}
	for _, m := range messages {
		if errno, origin, ok := extendedError(m.Data); ok && origin != unix.SO_EE_ORIGIN_NONE {
			return fmt.Errorf("unreachable, by an ICMP error or this host: %w", errno)
		}
	}
	return nil
}

// sourceFor is our address towards another, as the routes have it.
func sourceFor(to netip.Addr) (netip.Addr, error) {
	src, ok := source(to)
	if !ok {
		return netip.Addr{}, fmt.Errorf("no route to %s", to)
	}
	return src, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
