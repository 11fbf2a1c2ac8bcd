package netns

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// prefix begins the name of every table and filter of irkit.
const prefix = "irkit-"

// spec is what a cut was asked for, as the rules in the kernel themselves tell it:
// each part stands in the comment of one rule, so that any worker can rebuild the
// whole from the kernel and compare.
type spec struct {
	caseID   string
	holes    []evidence.Hole // no counters
	allow    []evidence.Allow
	nextHops []netip.Addr // routers on the way to what is allowed
	egress   egress
	qdiscs   []int // interface indexes whose clsact qdisc the cut made
	started  time.Time
}

// egress is what holds frames on their way out of a device.
type egress string

const (
	netdevEgress egress = "netdev-egress" // Linux 5.16 and later
	clsactEgress egress = "clsact"
)

// newSpec checks and orders what was asked for, so that equal requests are equal.
func newSpec(c agent.Cut) (spec, error) {
	s := spec{caseID: c.Case, egress: netdevEgress}
	if _, err := tableName(c.Case); err != nil {
		return s, err
	}
	for _, h := range c.Holes {
		peer := h.Peer.Unmap().WithZone("")
		if !peer.IsValid() || peer.IsUnspecified() || peer.IsMulticast() || h.Port == 0 {
			return s, fmt.Errorf("hole for %s port %d: want one peer's address and a port", h.Peer, h.Port)
		}
		s.holes = append(s.holes, evidence.Hole{Peer: peer, Port: h.Port, Why: plain(h.Why)})
	}
	slices.SortFunc(s.holes, func(a, b evidence.Hole) int {
		return cmp.Or(a.Peer.Compare(b.Peer), cmp.Compare(a.Port, b.Port))
	})
	s.holes = slices.CompactFunc(s.holes, func(a, b evidence.Hole) bool { return a.Peer == b.Peer && a.Port == b.Port })
	for _, a := range c.Allow {
		if !a.Prefix.IsValid() || !slices.Contains([]string{"", "tcp", "udp"}, a.Proto) {
			return s, fmt.Errorf("allow %s %q: want a prefix, and tcp, udp or nothing", a.Prefix, a.Proto)
		}
		p := netip.PrefixFrom(a.Prefix.Addr().WithZone(""), a.Prefix.Bits())
		if a.Prefix.Addr().Is4In6() {
			return s, fmt.Errorf("allow %s: want the IPv4 form of a mapped prefix", a.Prefix)
		}
		s.allow = append(s.allow, evidence.Allow{Prefix: p.Masked(), Port: a.Port, Proto: a.Proto})
	}
	slices.SortFunc(s.allow, func(a, b evidence.Allow) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
			cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
	})
	s.allow = slices.Compact(s.allow)
	return s, nil
}

// asks reports whether both were asked for the same cut.
func (s spec) asks(o spec) bool {
	return s.caseID == o.caseID && slices.Equal(s.holes, o.holes) && slices.Equal(s.allow, o.allow)
}

// tableName is the name of the tables of a case.
func tableName(caseID string) (string, error) {
	if caseID == "" || len(caseID) > 40 || strings.Trim(caseID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", fmt.Errorf("case %q: want 1 to 40 of a-z, 0-9 and -", caseID)
	}
	return prefix + caseID, nil
}

// plain keeps what a comment in the kernel may hold: it has 255 bytes, and is shown by
// nft between quotes.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), 120)])
}

// about is the comments that tell of the spec, one for each rule of the chain that
// holds them.
func (s spec) about() []string {
	out := []string{fmt.Sprintf("irkit 1 %s %d", s.egress, s.started.UnixNano())}
	for _, h := range s.holes {
		out = append(out, strings.TrimSpace(fmt.Sprintf("hole %s %d %s", h.Peer, h.Port, h.Why)))
	}
	for _, a := range s.allow {
		out = append(out, strings.TrimSpace(fmt.Sprintf("allow %s %d %s", a.Prefix, a.Port, a.Proto)))
	}
	for _, a := range s.nextHops {
		out = append(out, "next-hop "+a.String())
	}
	for _, i := range s.qdiscs {
		out = append(out, "clsact "+strconv.Itoa(i))
	}
	return out
}

// readAbout rebuilds the spec from its comments. Anything else than what about
// writes is an error.
func readAbout(caseID string, comments []string) (spec, error) {
	s := spec{caseID: caseID}
	for i, c := range comments {
		f := strings.SplitN(c, " ", 4)
		for len(f) < 4 {
			f = append(f, "")
		}
		if err := s.read(i == 0, f); err != nil {
			return s, fmt.Errorf("read comment %q: %w", c, err)
		}
	}
	if s.started.IsZero() {
		return s, fmt.Errorf("no comment says when the cut was made")
	}
	return s, nil
}

func (s *spec) read(first bool, f []string) error {
	if first != (f[0] == "irkit") {
		return fmt.Errorf("%q does not stand in its place", f[0])
	}
	switch f[0] {
	case "irkit":
		ns, err := strconv.ParseInt(f[3], 10, 64)
		s.started, s.egress = time.Unix(0, ns).UTC(), egress(f[2])
		if f[1] != "1" || s.egress != netdevEgress && s.egress != clsactEgress {
			return fmt.Errorf("unknown layout %q %q", f[1], f[2])
		}
		return err
	case "hole", "next-hop":
		peer, err := netip.ParseAddr(f[1])
		if err != nil {
			return err
		}
		if f[0] == "next-hop" {
			s.nextHops = append(s.nextHops, peer)
			return nil
		}
		port, err := strconv.ParseUint(f[2], 10, 16)
		s.holes = append(s.holes, evidence.Hole{Peer: peer, Port: uint16(port), Why: f[3]})
		return err
	case "allow":
		p, err := netip.ParsePrefix(f[1])
		if err != nil {
			return err
		}
		port, err := strconv.ParseUint(f[2], 10, 16)
		s.allow = append(s.allow, evidence.Allow{Prefix: p, Port: uint16(port), Proto: f[3]})
		return err
	case "clsact":
		i, err := strconv.Atoi(f[1])
		s.qdiscs = append(s.qdiscs, i)
		return err
	}
	return fmt.Errorf("unknown word %q", f[0])
}
