package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Cut drops everything that enters or leaves the network namespace of the calling
// thread, but for the holes and what is allowed. It is one transaction: the kernel
// takes all rules or none. It holds when Cut returns, and after this process ends.
//
// Calling it again for the same case with the same rules touches nothing, or covers
// devices that came since; with other rules they are replaced in one transaction and
// the counters go on. Rules that someone changed are put back. A namespace that is the
// node's is refused with agent.ErrNodeNetwork, one where a cut of another case stands
// with an *OtherCaseError; nothing is touched then. NodeAddrs is the guard against the
// former that always works: a caller names them all.
func Cut(ctx context.Context, c agent.Cut) (evidence.CutReport, error) {
	return cut(ctx, c, netdevEgress)
}

func cut(ctx context.Context, c agent.Cut, way egress) (evidence.CutReport, error) {
	begun := time.Now()
	want, err := newSpec(c)
	if err != nil {
		return evidence.CutReport{}, err
	}
	want.egress, want.started = way, begun.UTC()
	devices, err := refuseNode(c.NodeAddrs)
	if err != nil {
		return evidence.CutReport{}, fmt.Errorf("cut for case %s: %w", c.Case, err)
	}
	conn, err := open()
	if err != nil {
		return evidence.CutReport{}, err
	}
	defer conn.CloseLasting()
	others, err := cases(conn)
	if err != nil {
		return evidence.CutReport{}, err
	}
	for other := range others {
		if other != c.Case {
			return evidence.CutReport{}, fmt.Errorf("cut for case %s: %w", c.Case, &OtherCaseError{Case: other})
		}
	}
	if err := ctx.Err(); err != nil {
		return evidence.CutReport{}, fmt.Errorf("cut for case %s: %w", c.Case, err)
	}
	want.nextHops = nextHops(want)
	old := former{stands: others[c.Case]}
	if len(old.stands) > 0 {
		if old.found, err = read(conn, c.Case); err == nil && holds(want, old.found, devices) {
			return tell(c.Case, old.found, devices), nil
		} // what cannot be read is replaced
	}
	if err := install(want, devices, old); err != nil {
		return evidence.CutReport{}, fmt.Errorf("cut for case %s: %w", c.Case, err)
	}
	took := time.Since(begun)
	found, err := read(conn, c.Case)
	if err != nil {
		return evidence.CutReport{}, err
	}
	if has, err := stoodSpec(c.Case, found); err != nil || !has.asks(want) {
		return evidence.CutReport{}, fmt.Errorf("cut for case %s: the kernel does not have the rules that it was given", c.Case)
	}
	r := tell(c.Case, found, devices)
	r.Took = took
	return r, nil
}

// former is what stands of the case already.
type former struct {
	stands []nftables.TableFamily
	found  map[nftables.TableFamily]standing // nil: it could not be read
	fresh  bool                              // it is to be taken away first
}

// holds reports that a cut of these rules stands, whole and on every device.
func holds(want spec, found map[nftables.TableFamily]standing, devices []device) bool {
	has, err := stoodSpec(want.caseID, found)
	if err != nil || !has.asks(want) || clsactMissing(has, devices) {
		return false
	}
	_, uncovered := covered(has, found, devices)
	return len(uncovered) == 0 && len(differences(plan(has, devices), found, devices)) == 0
}

// install puts the rules in place: over those that stand when they are irkit's,
// instead of them when someone changed them.
//
// A kernel without the egress hook (before Linux 5.16) refuses the whole; then traffic
// control holds the way out.
func install(want spec, devices []device, old former) error {
	old.fresh = len(old.stands) > 0
	if has, err := stoodSpec(want.caseID, old.found); err == nil {
		want.started, want.qdiscs = has.started, has.qdiscs
		here, _ := covered(has, old.found, devices)
		old.fresh = len(differences(plan(has, here), old.found, devices)) > 0 || has.egress != want.egress
	}
	if want.egress == clsactEgress {
		return withClsact(want, devices, old)
	}
	err := commit(plan(want, devices), old)
	if err == nil || errors.Is(err, os.ErrPermission) {
		return err
	}
	if second := withClsact(want, devices, old); second != nil {
		return errors.Join(err, second)
	}
	return nil
}

// commit sends all tables in one transaction.
func commit(tables []table, old former) error {
	conn, err := open()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	seeds := counters(old.found)
	for _, f := range old.stands {
		if old.fresh {
			conn.DelTable(&nftables.Table{Family: f, Name: tables[0].name})
		}
	}
	for _, t := range tables {
		kt := conn.AddTable(&nftables.Table{Family: t.family, Name: t.name})
		if err := addSets(conn, kt, t, old.found[t.family], old.fresh); err != nil {
			return err
		}
		drop := nftables.ChainPolicyDrop
		chains := map[string]*nftables.Chain{}
		for _, c := range t.chainsInOrder() {
			kc := &nftables.Chain{Table: kt, Name: c.name}
			if c.hook != nil {
				kc.Type, kc.Hooknum, kc.Priority, kc.Device, kc.Policy = nftables.ChainTypeFilter, c.hook, &c.priority, c.device, &drop
			}
			chains[c.name] = conn.AddChain(kc)
		}
		conn.FlushTable(kt)
		for _, c := range t.chains {
			for _, r := range c.rules {
				exprs := seeded(r.exprs, seeds[counterKey{t.family, c.name, r.comment}])
				conn.AddRule(&nftables.Rule{Table: kt, Chain: chains[c.name], Exprs: exprs, UserData: encodeComment(r.comment)})
			}
		}
	}
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("give the kernel the packet filter: %w", err)
	}
	return nil // after ENOBUFS the answers were lost, not the rules: the report reads them
}

// seeded lets the counters of replaced rules go on.
func seeded(exprs match, seed expr.Counter) match {
	out := slices.Clone(exprs)
	for i, e := range out {
		if _, ok := e.(*expr.Counter); ok {
			out[i] = &expr.Counter{Packets: seed.Packets, Bytes: seed.Bytes}
		}
	}
	return out
}

func addSets(conn *nftables.Conn, kt *nftables.Table, t table, has standing, fresh bool) error {
	for i, s := range t.sets {
		ks := &nftables.Set{Table: kt, Name: s.name, ID: uint32(i + 1), KeyType: s.key, HasTimeout: s.timeout, Dynamic: s.dynamic, Size: s.size}
		if err := conn.AddSet(ks, nil); err != nil {
			return fmt.Errorf("describe set %s: %w", s.name, err)
		}
		var elements []nftables.SetElement
		for _, e := range s.elements {
			elements = append(elements, nftables.SetElement{Key: e})
		}
		if s.dynamic && !s.timeout && fresh { // keep what was tried
			for _, e := range has.elements[s.name] {
				elements = append(elements, nftables.SetElement{Key: e.Key})
			}
		}
		if !s.dynamic {
			conn.FlushSet(ks)
		}
		if len(elements) == 0 {
			continue
		}
		if err := conn.SetAddElements(ks, elements); err != nil {
			return fmt.Errorf("describe elements of set %s: %w", s.name, err)
		}
	}
	return nil
}

// refuseNode lists the devices to cover, and refuses a namespace that is the node's:
// one that has a node's address, or, seen from the initial PID namespace, that of its
// first process.
func refuseNode(node []netip.Addr) ([]device, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		if ok && !addr.IsLoopback() && slices.ContainsFunc(node, func(n netip.Addr) bool { return n.Unmap().WithZone("") == addr }) {
			return nil, fmt.Errorf("%w: it has the node's address %s", agent.ErrNodeNetwork, addr)
		}
	}
	if inInitialPIDs() {
		first, err1 := os.Readlink("/proc/1/ns/net")
		ours, err2 := os.Readlink("/proc/thread-self/ns/net")
		if err1 == nil && err2 == nil && first == ours {
			return nil, fmt.Errorf("%w: it is that of the node's first process", agent.ErrNodeNetwork)
		}
	}
	var devices []device
	for _, l := range links {
		if l.Attrs().RawFlags&unix.IFF_LOOPBACK == 0 {
			devices = append(devices, device{index: l.Attrs().Index, name: l.Attrs().Name})
		}
	}
	return devices, nil
}

// inInitialPIDs reports that this process sees the whole node's processes: its PID
// namespace is the first (PROC_PID_INIT_INO in linux/proc_ns.h).
func inInitialPIDs() bool {
	pids, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && pids == "pid:[4026531836]"
}

// nextHops are the routers on the way to the peers and to what is allowed, which must
// be resolved. An address that has no route has none.
func nextHops(s spec) []netip.Addr {
	var all []netip.Addr
	for _, h := range s.holes {
		if hop, ok := nextHop(h.Peer); ok && hop != h.Peer {
			all = append(all, hop)
		}
	}
	for _, a := range s.allow {
		if hop, ok := nextHop(a.Prefix.Addr()); ok {
			all = append(all, hop)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// nextHop is the address that is resolved on the link to reach another: its router, or
// itself.
func nextHop(to netip.Addr) (netip.Addr, bool) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, false
	}
	via := routes[0].Gw
	if v, ok := routes[0].Via.(*netlink.Via); ok && via == nil {
		via = v.Addr
	}
	if via == nil {
		return to, true
	}
	hop, ok := netip.AddrFromSlice(via)
	return hop.Unmap(), ok
}

// source is our own address on the way to another.
func source(to netip.Addr) (netip.Addr, bool) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, false
	}
	src, ok := netip.AddrFromSlice(routes[0].Src)
	return src.Unmap(), ok
}
