package netns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// pinholeFor is how long a pinhole stands. The kernel closes it, also when this process
// dies first.
const pinholeFor = time.Second

// ProbeThroughPinhole tries probes as Probe does, each through a hole in the cut for its
// one five-tuple, so that what is left to stop it is what lies outside the namespace.
// It is ErrNoCut where no cut of the case stands. Limits above a second are of no use.
func ProbeThroughPinhole(ctx context.Context, caseID string, probes []evidence.Probe, limit time.Duration) ([]evidence.ProbeResult, error) {
	s, err := stands(ctx, caseID)
	if err != nil {
		return nil, err
	}
	var failed error
	results := tryAll(ctx, probes, limit, func(tries []*try) {
		var adds []addition
		for _, t := range tries {
			t.result.Pinhole = true
			if t.done {
				continue
			}
			remote := t.result.Addr.Addr().Unmap()
			f := familyOf(remote)
			adds = append(adds, addition{named("pin", f), join([]byte{t.protocol()}, t.local.Addr().AsSlice(),
				remote.AsSlice(), be16(t.local.Port()), be16(t.result.Addr.Port()))})
			adds = append(adds, hop(s, remote)...)
		}
		if failed = pierce(s, adds); failed != nil {
			for _, t := range tries {
				t.end(false, failed)
			}
		}
	})
	return results, failed
}

// OpenInbound opens a pinhole of a second for TCP connections from a peer to a port of
// the target's, and the replies. Calling it again while it stands may not lengthen it.
// It is ErrNoCut where no cut of the case stands.
func OpenInbound(ctx context.Context, caseID string, in agent.Inbound) error {
	peer := in.Peer.Unmap().WithZone("")
	if !peer.IsValid() || in.Port == 0 {
		return fmt.Errorf("open a pinhole for %s to port %d: want an address and a port", in.Peer, in.Port)
	}
	s, err := stands(ctx, caseID)
	if err != nil {
		return err
	}
	return pierce(s, append(hop(s, peer), addition{named("open", familyOf(peer)), join(peer.AsSlice(), be16(in.Port))}))
}

// stands reads the spec of the cut of a case.
func stands(ctx context.Context, caseID string) (spec, error) {
	if _, err := tableName(caseID); err != nil {
		return spec{}, err
	}
	if err := ctx.Err(); err != nil {
		return spec{}, fmt.Errorf("open a pinhole for case %s: %w", caseID, err)
	}
	conn, err := open()
	if err != nil {
		return spec{}, err
	}
	defer conn.CloseLasting()
	found, err := read(conn, caseID)
	if err != nil {
		return spec{}, err
	}
	if len(found) == 0 {
		return spec{}, fmt.Errorf("open a pinhole for case %s: %w", caseID, ErrNoCut)
	}
	return stoodSpec(caseID, found)
}

// addition is one element that is to stand for a second.
type addition struct {
	set string
	key []byte
}

// hop lets the address be resolved that a packet goes by; one that the cut lets be
// resolved anyway stays as it is, since the kernel would put the timeout on it.
func hop(s spec, to netip.Addr) []addition {
	via, ok := nextHop(to)
	if !ok || slices.Contains(peers(s), via) {
		return nil
	}
	return []addition{{named("peer", familyOf(via)), via.AsSlice()}}
}

// pierce adds elements to the sets of all tables, in one transaction.
func pierce(in spec, adds []addition) error {
	if len(adds) == 0 {
		return nil
	}
	conn, err := open()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	for _, planned := range plan(in, nil) {
		t := &nftables.Table{Family: planned.family, Name: planned.name}
		for _, s := range planned.sets {
			var elements []nftables.SetElement
			seen := map[string]bool{}
			for _, a := range adds {
				if a.set == s.name && !seen[string(a.key)] {
					seen[string(a.key)] = true
					elements = append(elements, nftables.SetElement{Key: a.key, Timeout: pinholeFor})
				}
			}
			if len(elements) == 0 {
				continue
			}
			ks := &nftables.Set{Table: t, Name: s.name, KeyType: s.key, HasTimeout: true}
			if err := conn.SetAddElements(ks, elements); err != nil {
				return fmt.Errorf("describe a pinhole: %w", err)
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("open a pinhole in the cut of case %s: %w", in.caseID, err)
	}
	return nil
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return families()[0]
	}
	return families()[1]
}

func (t *try) protocol() byte {
	if t.result.Proto == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}
