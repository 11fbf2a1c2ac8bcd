package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// bornFor is how long a probe's connection may be silent.
	bornFor = time.Minute
	// smallFrame bounds ARP, so that the hole for it carries no load: 14 bytes of
	// Ethernet and its least payload of 46, and tags.
	smallFrame = 68
	// smallNeighbour bounds neighbour discovery: 24 bytes and one link-layer address
	// (RFC 4861 sections 4.3, 4.4).
	smallNeighbour = 32
)

func holeChain(f family, d direction) string { return fmt.Sprintf("%s-hole%d", d, f.number) }

// holes lets the kubelet's probes through: TCP from a peer to the port declared to
// it and the replies, of connections that the peer itself opened after the cut. Those
// are in the set born since their first SYN; a connection that stood before, also one
// that a process keeps in user space over a raw socket, never is. Outwards nothing
// passes with SYN and without ACK.
func holes(s spec, f family, d direction) chain {
	born, hole := named("born", f), named("hole", f)
	flow := loadKey(f.far(d), farPort(d), nearPort(d))
	c := chain{name: holeChain(f, d)}
	if d == inbound {
		c.rules = append(c.rules, rule{exprs: and(
			flags(tcpFIN|tcpSYN|tcpRST|tcpACK, tcpSYN, expr.CmpOpEq),
			loadKey(f.far(d), nearPort(d)), in(hole),
			flow, remember(born, unix.NFT_DYNSET_OP_UPDATE, bornFor)), comment: "a probe begins"})
	} else {
		c.rules = append(c.rules, rule{exprs: and(flags(tcpSYN|tcpACK, tcpSYN, expr.CmpOpEq),
			verdict(expr.VerdictReturn, "")), comment: "no connection outwards"})
	}
	c.rules = append(c.rules, rule{exprs: and(flow, notIn(born), verdict(expr.VerdictReturn, "")), comment: "not a probe's"})
	if d == inbound {
		c.rules = append(c.rules, rule{exprs: and(flow, remember(born, unix.NFT_DYNSET_OP_UPDATE, bornFor)), comment: "goes on"})
	}
	for _, h := range s.holes {
		if f.has(h.Peer) {
			c.rules = append(c.rules, rule{exprs: and(f.far(d).is(h.Peer.AsSlice()), nearPort(d).is(be16(h.Port)), s.accept(d)),
				comment: holeComment(h.Peer, h.Port)})
		}
	}
	return c
}

func holeComment(peer netip.Addr, port uint16) string { return fmt.Sprintf("hole %s %d", peer, port) }

// pinholes lets through what a probe of ours is just trying: elements that the kernel
// itself forgets after a second.
func pinholes(s spec, f family, d direction) []rule {
	five := loadKey(key{proto: true, size: 1}, f.near(d), f.far(d), nearPort(d), farPort(d))
	open := loadKey(f.far(d), nearPort(d))
	guest := f.simple(unix.IPPROTO_TCP)
	if d == outbound {
		guest = and(guest, flags(tcpSYN|tcpACK, tcpSYN, expr.CmpOpNeq))
	}
	return []rule{
		{exprs: and(l3(f.etherType), five, in(named("pin", f)), s.accept(d)), comment: fmt.Sprintf("pinhole IPv%d", f.number)},
		{exprs: and(guest, open, in(named("open", f)), s.accept(d)), comment: fmt.Sprintf("inbound pinhole IPv%d", f.number)},
	}
}

// arp lets through address resolution (RFC 826) with the peers alone.
func arp(s spec, d direction) chain {
	ethernet := and(meta(expr.MetaKeyLEN, expr.CmpOpLte, native32(smallFrame)), field(network, 2, 0x08, 0x00, 6, 4))
	peer := key{base: network, offset: pick(d, 14, 24), size: 4} // the sender's address, the target's
	c := chain{name: string(d) + "-arp"}
	c.rules = append(c.rules, rule{exprs: and(ethernet, loadKey(peer), in("peer4"), s.accept(d)), comment: "peers"})
	for _, a := range s.allow {
		if a.Prefix.Addr().Is4() {
			c.rules = append(c.rules, rule{exprs: and(ethernet, within(peer, a.Prefix), s.accept(d)),
				comment: "allow " + a.Prefix.String()})
		}
	}
	c.rules = append(c.rules, rule{exprs: counted(expr.VerdictDrop), comment: "dropped"})
	return c
}

// neighbours lets through solicitations and advertisements (RFC 4861) with the peers
// alone. A solicitation in, and an advertisement out, carry our address as target and
// the peer's in the IP header; the others carry the peer's as target. A solicitation out
// goes to the peer, or to the group that its address makes (RFC 4291 section 2.7.1).
func neighbours(s spec, d direction) []rule {
	v6 := families()[1]
	small := and(v6.simple(unix.IPPROTO_ICMPV6), field(network, 7, 255),
		load(network, 4, 2, 1), compare(1, expr.CmpOpLte, be16(smallNeighbour)))
	target := key{base: transport, offset: 8, size: 16}
	const solicitation, advertisement = 135, 136
	of := func(kind byte) key {
		if (kind == solicitation) == (d == inbound) {
			return v6.far(d)
		}
		return target
	}
	var rules []rule
	let := func(comment string, exprs match) {
		rules = append(rules, rule{exprs: and(exprs, s.accept(d)), comment: comment})
	}
	for _, kind := range []byte{solicitation, advertisement} {
		is, name := and(small, field(transport, 0, kind, 0)), fmt.Sprintf("neighbour discovery type %d", kind)
		ask := kind == solicitation && d == outbound
		peer := and(is, loadKey(of(kind)), in("peer6"))
		if ask {
			let(name+" to the group", and(peer, within(v6.far(d), solicited())))
			peer = and(peer, loadKey(v6.far(d)), in("peer6"))
		}
		let(name, peer)
		for _, a := range s.allow {
			if !a.Prefix.Addr().Is6() {
				continue
			}
			host := and(is, within(of(kind), a.Prefix))
			if ask {
				let(fmt.Sprintf("%s for %s to the group", name, a.Prefix), and(host, within(v6.far(d), solicited())))
				host = and(host, within(v6.far(d), a.Prefix))
			}
			let(fmt.Sprintf("%s for %s", name, a.Prefix), host)
		}
	}
	return rules
}

// solicited is where solicited-node groups lie.
func solicited() netip.Prefix { return netip.MustParsePrefix("ff02::1:ff00:0/104") }

// within holds when the field is an address of the prefix.
func within(k key, p netip.Prefix) match {
	if p.Bits() == 0 {
		return nil
	}
	mask := make([]byte, k.size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return masked(k.base, k.offset, mask, p.Addr().AsSlice(), expr.CmpOpEq)
}

// allowed lets through what the responder asked for. A port is that of either side,
// so that the forensics host may serve or ask.
func allowed(s spec, d direction) []rule {
	var rules []rule
	for _, a := range s.allow {
		f := families()[0]
		if a.Prefix.Addr().Is6() {
			f = families()[1]
		}
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			if a.Proto == "tcp" && proto != unix.IPPROTO_TCP || a.Proto == "udp" && proto != unix.IPPROTO_UDP {
				continue
			}
			host := and(l3(f.etherType), l4(proto), within(f.far(d), a.Prefix))
			ports := []match{nil}
			if a.Port != 0 {
				ports = []match{nearPort(d).is(be16(a.Port)), farPort(d).is(be16(a.Port))}
			}
			for i, p := range ports {
				rules = append(rules, rule{exprs: and(host, p, s.accept(d)),
					comment: fmt.Sprintf("allow %s %d protocol %d way %d", a.Prefix, a.Port, proto, i)})
			}
		}
	}
	return rules
}

// tried drops what goes out and keeps where it wanted to go. What the kernel itself
// sends to its own link (RFC 4861, RFC 3810, RFC 3376) is no attempt of the target's.
func tried() []rule {
	drop := counted(expr.VerdictDrop)
	rules := []rule{
		{exprs: and(l3(unix.ETH_P_IPV6), l4(unix.IPPROTO_ICMPV6), field(network, 24, 0xff, 0x02), drop), comment: "dropped: link chatter"},
		{exprs: and(l3(unix.ETH_P_IP), l4(unix.IPPROTO_IGMP), drop), comment: "dropped: group membership"},
	}
	for _, f := range families() {
		keep := remember(named("tried", f), unix.NFT_DYNSET_OP_ADD, 0, &expr.Counter{})
		proto := key{proto: true, size: 1}
		for _, p := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
			rules = append(rules, rule{exprs: and(l3(f.etherType), l4(p), loadKey(proto, f.far(outbound), farPort(outbound)), keep, drop),
				comment: fmt.Sprintf("dropped: IPv%d protocol %d", f.number, p)})
		}
		rules = append(rules, rule{exprs: and(l3(f.etherType), loadKey(proto, f.far(outbound), key{zero: true, size: 4}), keep, drop),
			comment: fmt.Sprintf("dropped: IPv%d other", f.number)})
	}
	return rules
}

func native16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }
func native32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
