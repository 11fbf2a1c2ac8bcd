package netns

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// Bounds of the sets that packets fill.
const (
	bornSize  = 16384
	triedSize = 8192
)

// set is one set of a plan. Its elements are those that stand as long as the cut;
// what packets and pinholes add is not the plan's.
type set struct {
	name     string
	key      nftables.SetDatatype
	timeout  bool // elements may carry one, after which the kernel forgets them
	dynamic  bool // packets add elements
	size     uint32
	fixed    bool // has no elements but the plan's
	elements [][]byte
}

func named(kind string, f family) string { return fmt.Sprintf("%s%d", kind, f.number) }

// sets is every set of a table. Only where ARP is seen are IPv4 peers resolved.
func sets(s spec, in nftables.TableFamily) []set {
	port, proto := nftables.TypeInetService, nftables.TypeInetProto
	var all []set
	for _, f := range families() {
		hole := set{name: named("hole", f), key: concat(f.kind, port), fixed: true}
		peer := set{name: named("peer", f), key: f.kind, timeout: true}
		for _, h := range s.holes {
			if f.has(h.Peer) {
				hole.elements = append(hole.elements, join(h.Peer.AsSlice(), be16(h.Port)))
			}
		}
		for _, a := range peers(s) {
			if f.has(a) {
				peer.elements = append(peer.elements, a.AsSlice())
			}
		}
		all = append(all, hole,
			set{name: named("born", f), key: concat(f.kind, port, port), timeout: true, dynamic: true, size: bornSize},
			set{name: named("pin", f), key: concat(proto, f.kind, f.kind, port, port), timeout: true},
			set{name: named("open", f), key: concat(f.kind, port), timeout: true},
			set{name: named("tried", f), key: concat(proto, f.kind, port), dynamic: true, size: triedSize})
		if in != nftables.TableFamilyINet || f.number == 6 {
			all = append(all, peer)
		}
	}
	if in == nftables.TableFamilyARP {
		return slices.DeleteFunc(all, func(s set) bool { return s.name != "peer4" })
	}
	return all
}

// peers are the addresses that may be resolved.
func peers(s spec) []netip.Addr {
	all := slices.Clone(s.nextHops)
	for _, h := range s.holes {
		all = append(all, h.Peer)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// concat is the type of a key of several fields. The kinds here are at most five, the
// most that there can be.
func concat(kinds ...nftables.SetDatatype) nftables.SetDatatype {
	return nftables.MustConcatSetType(kinds...)
}

// join writes the fields of a key, each padded to four bytes.
func join(fields ...[]byte) []byte {
	var b []byte
	for _, f := range fields {
		b = append(b, f...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}
