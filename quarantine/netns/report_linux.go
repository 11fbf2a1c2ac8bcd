package netns

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"irkit.dev/irkit/evidence"
)

// Report reads the cut of a case, its counters and what was tried since, from the
// kernel. It is ErrNoCut where none stands. Rules that are not those the cut made, and
// devices that it does not hold, are told in Weak and Uncovered: Cut, called again,
// puts them right. Took is only in the report that Cut itself returns.
func Report(ctx context.Context, caseID string) (evidence.CutReport, error) {
	if _, err := tableName(caseID); err != nil {
		return evidence.CutReport{}, err
	}
	if err := ctx.Err(); err != nil {
		return evidence.CutReport{}, fmt.Errorf("read the cut of case %s: %w", caseID, err)
	}
	conn, err := open()
	if err != nil {
		return evidence.CutReport{}, err
	}
	defer conn.CloseLasting()
	found, err := read(conn, caseID)
	if err != nil {
		return evidence.CutReport{}, err
	}
	if len(found) == 0 {
		return evidence.CutReport{}, fmt.Errorf("case %s: %w", caseID, ErrNoCut)
	}
	devices, err := refuseNode(nil)
	if err != nil {
		return evidence.CutReport{}, err
	}
	return tell(caseID, found, devices), nil
}

// tell puts the kernel's answer into words.
func tell(caseID string, found map[nftables.TableFamily]standing, devices []device) evidence.CutReport {
	r := evidence.CutReport{Hooks: []string{}, Devices: []string{}, Holes: []evidence.Hole{}, Allowed: []evidence.Allow{}}
	s, err := stoodSpec(caseID, found)
	if err != nil {
		r.Weak = append(r.Weak, "the cut's rules were changed: "+err.Error())
	}
	here, uncovered := covered(s, found, devices)
	for _, d := range differences(plan(s, here), found, devices) {
		r.Weak = append(r.Weak, "the cut's rules were changed: "+d)
	}
	r.Installed = s.started
	r.Allowed = append(r.Allowed, s.allow...)
	n := counters(found)
	for _, h := range s.holes {
		name := holeComment(h.Peer, h.Port)
		f := families()[0]
		if h.Peer.Is6() {
			f = families()[1]
		}
		in := n[counterKey{nftables.TableFamilyNetdev, holeChain(f, inbound), name}]
		out := n[counterKey{nftables.TableFamilyNetdev, holeChain(f, outbound), name}]
		if s.egress == clsactEgress {
			out = n[counterKey{nftables.TableFamilyINet, holeChain(f, outbound), name}]
		}
		h.PacketsIn, h.BytesIn, h.PacketsOu, h.BytesOut = in.Packets, in.Bytes, out.Packets, out.Bytes
		r.Holes = append(r.Holes, h)
	}
	for k, c := range n {
		switch {
		case !strings.HasPrefix(k.comment, "dropped"):
		case k.chain == string(inbound) || strings.HasPrefix(k.chain, string(inbound)+"-"):
			r.DroppedIn += c.Packets
		case k.chain == string(outbound) || strings.HasPrefix(k.chain, string(outbound)+"-"):
			r.DroppedOut += c.Packets
		}
	}
	held := len(here) > 0
	for _, d := range here {
		if s.egress == clsactEgress && !heldEgress(d) {
			uncovered, held = append(uncovered, d), false
			continue
		}
		r.Devices = append(r.Devices, d.name)
	}
	if held {
		r.Hooks = append(r.Hooks, "netdev-ingress", string(s.egress))
	}
	if _, ok := found[nftables.TableFamilyINet]; ok {
		r.Hooks = append(r.Hooks, "inet")
	}
	for _, d := range uncovered {
		r.Uncovered = append(r.Uncovered, d.name)
		r.Weak = append(r.Weak, fmt.Sprintf("device %q is held by the IP layer alone: packet sockets pass there", d.name))
	}
	r.Attempts = attempts(found)
	return r
}

// attempts are what both tables kept, each destination once, the most tried first.
func attempts(found map[nftables.TableFamily]standing) []evidence.Attempt {
	sums := map[evidence.Attempt]uint64{}
	for _, t := range found {
		for _, f := range families() {
			for _, e := range t.elements[named("tried", f)] {
				a, ok := parseTried(f, e.Key)
				if !ok {
					continue
				}
				var n expr.Counter
				if e.Counter != nil {
					n = *e.Counter
				}
				sums[a] += n.Packets
			}
		}
	}
	all := []evidence.Attempt{}
	for a, n := range sums {
		a.Packets = n
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b evidence.Attempt) int {
		switch {
		case a.Packets > b.Packets:
			return -1
		case a.Packets < b.Packets:
			return 1
		case a.Proto != b.Proto:
			return int(a.Proto) - int(b.Proto)
		case a.Addr != b.Addr:
			return a.Addr.Compare(b.Addr)
		}
		return int(a.Port) - int(b.Port)
	})
	return all
}

// parseTried reads a key of the set of attempts: protocol, address, port, each padded
// to four bytes.
func parseTried(f family, key []byte) (evidence.Attempt, bool) {
	if len(key) != int(4+f.size+4) {
		return evidence.Attempt{}, false
	}
	addr, ok := netip.AddrFromSlice(key[4 : 4+f.size])
	return evidence.Attempt{Proto: key[0], Addr: addr, Port: binary.BigEndian.Uint16(key[4+f.size:])}, ok
}
