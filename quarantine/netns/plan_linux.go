package netns

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Priorities are such that both hooks see packets as they are on the wire: before
// address translation on the way in, after it on the way out.
const (
	netdevPriority = -500
	innerPriority  = -310
	outerPriority  = 310
	arpOut         = 1 // NF_ARP_OUT (linux/netfilter_arp.h)
)

// rule is one rule of a plan. Its comment is unique in its chain where it has a
// counter that is read back.
type rule struct {
	exprs   match
	comment string
}

// chain is one chain of a plan.
type chain struct {
	name     string
	rules    []rule
	hook     *nftables.ChainHook // nil: only jumped to
	priority nftables.ChainPriority
	device   string
}

// table is one table of a plan: all of it, so that the kernel's can be compared.
type table struct {
	family nftables.TableFamily
	name   string
	sets   []set
	chains []chain
}

// device is a network device to be covered.
type device struct {
	index int
	name  string
}

// aboutChain holds no rule that acts; its comments are the spec.
const aboutChain = "about"

// plan writes out the tables of a spec. It is pure: equal specs and devices give equal
// tables.
func plan(s spec, devices []device) []table {
	name := prefix + s.caseID
	netdev := table{family: nftables.TableFamilyNetdev, name: name, sets: sets(s, nftables.TableFamilyNetdev)}
	inet := table{family: nftables.TableFamilyINet, name: name, sets: sets(s, nftables.TableFamilyINet)}
	var about []rule
	for _, c := range s.about() {
		about = append(about, rule{exprs: match{&expr.Counter{}}, comment: c})
	}
	inet.chains = append(inet.chains, chain{name: aboutChain, rules: about})
	for _, t := range []*table{&netdev, &inet} {
		for _, d := range directions() {
			t.chains = append(t.chains, traffic(s, d, t.family)...)
		}
	}
	for _, d := range devices {
		netdev.chains = append(netdev.chains, base(d, inbound, nftables.ChainHookIngress))
		if s.egress == netdevEgress {
			netdev.chains = append(netdev.chains, base(d, outbound, nftables.ChainHookEgress))
		}
	}
	inet.chains = append(inet.chains,
		inner(inbound, expr.MetaKeyIIFTYPE, nftables.ChainHookPrerouting, innerPriority),
		inner(outbound, expr.MetaKeyOIFTYPE, nftables.ChainHookPostrouting, outerPriority))
	if s.egress == netdevEgress {
		return []table{netdev, inet}
	}
	resolve := table{family: nftables.TableFamilyARP, name: name, sets: sets(s, nftables.TableFamilyARP)}
	out := arp(s, outbound)
	out.hook, out.priority = nftables.ChainHookRef(arpOut), outerPriority
	resolve.chains = append(resolve.chains, out)
	return []table{netdev, inet, resolve}
}

// kinds are the families of tables that a cut may have. That of ARP is for the marks
// that traffic control looks at.
func kinds() []nftables.TableFamily {
	return []nftables.TableFamily{nftables.TableFamilyNetdev, nftables.TableFamilyINet, nftables.TableFamilyARP}
}

// baseName is the name of a device's base chain. Names of devices are the target's
// to choose, so that the index stands for them.
func baseName(d device, way direction) string { return fmt.Sprintf("%s-device-%d", way, d.index) }

func base(d device, way direction, hook *nftables.ChainHook) chain {
	return chain{name: baseName(d, way), hook: hook, priority: netdevPriority, device: d.name,
		rules: []rule{{exprs: verdict(expr.VerdictJump, string(way)), comment: "device"}}}
}

// inner is the base chain in the IP layer. It also holds what comes or goes by a device
// that was not there at the cut. Loopback stays: the target's own processes talk there.
func inner(way direction, key expr.MetaKey, hook *nftables.ChainHook, priority nftables.ChainPriority) chain {
	loopback := meta(key, expr.CmpOpEq, native16(unix.ARPHRD_LOOPBACK))
	return chain{name: string(way) + "-inet", hook: hook, priority: priority, rules: []rule{
		{exprs: and(loopback, verdict(expr.VerdictAccept, "")), comment: "loopback"},
		{exprs: verdict(expr.VerdictJump, string(way)), comment: "all else"},
	}}
}

// traffic is the chains that decide over one direction: what is let through, and the
// drop of all else.
func traffic(s spec, d direction, in nftables.TableFamily) []chain {
	main := chain{name: string(d)}
	more := []chain{}
	if in == nftables.TableFamilyNetdev && (d == inbound || s.egress == netdevEgress) {
		main.rules = append(main.rules, rule{exprs: and(l3(unix.ETH_P_ARP), verdict(expr.VerdictGoto, string(d)+"-arp"))})
		more = append(more, arp(s, d))
	}
	for _, f := range families() {
		main.rules = append(main.rules, pinholes(s, f, d)...)
		main.rules = append(main.rules, rule{exprs: and(f.simple(unix.IPPROTO_TCP),
			verdict(expr.VerdictJump, holeChain(f, d)))})
		more = append(more, holes(s, f, d))
	}
	main.rules = append(main.rules, neighbours(s, d)...)
	main.rules = append(main.rules, allowed(s, d)...)
	if d == outbound {
		main.rules = append(main.rules, tried()...)
	}
	main.rules = append(main.rules, rule{exprs: counted(expr.VerdictDrop), comment: "dropped"})
	return append(more, main)
}

// accept ends a rule that lets a packet through. Where traffic control holds the way
// out, packets that the IP layer let through are marked for it.
func (s spec) accept(d direction) match {
	if s.egress == clsactEgress && d == outbound {
		return and(match{&expr.Counter{}, &expr.Immediate{Register: 1, Data: native32(passMark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}}, verdict(expr.VerdictAccept, ""))
	}
	return counted(expr.VerdictAccept)
}

// chainsInOrder puts chains that are jumped to before those that jump.
func (t table) chainsInOrder() []chain {
	cs := slices.Clone(t.chains)
	slices.SortStableFunc(cs, func(a, b chain) int {
		switch {
		case (a.hook == nil) == (b.hook == nil):
			return 0
		case a.hook == nil:
			return -1
		}
		return 1
	})
	return cs
}
