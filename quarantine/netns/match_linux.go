package netns

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// match is a list of nftables expressions: all must hold, in order.
type match []expr.Any

// keyRegister is where a key begins. A key of several fields lies in consecutive
// registers of 32 bits, each field padded to four bytes.
const keyRegister = unix.NFT_REG_1

// register is the number of a register of 32 bits, as the kernel itself writes it
// (nft_dump_register): every fourth is the begin of one of 128 bits, and has its name.
func register(word uint32) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + word/4
	}
	return unix.NFT_REG32_00 + word
}

// Bytes of TCP's flags field, RFC 9293 section 3.1.
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

const (
	network   = expr.PayloadBaseNetworkHeader
	transport = expr.PayloadBaseTransportHeader
)

// and joins matches.
func and(ms ...match) match {
	var all match
	for _, m := range ms {
		all = append(all, m...)
	}
	return all
}

func compare(register uint32, op expr.CmpOp, data []byte) match {
	return match{&expr.Cmp{Op: op, Register: register, Data: data}}
}

// field compares bytes of a header.
func field(base expr.PayloadBase, offset uint32, data ...byte) match {
	return and(load(base, offset, uint32(len(data)), 1), compare(1, expr.CmpOpEq, data))
}

func load(base expr.PayloadBase, offset, size, register uint32) match {
	return match{&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size}}
}

// masked compares the bits of a header that the mask names.
func masked(base expr.PayloadBase, offset uint32, mask, want []byte, op expr.CmpOp) match {
	n := uint32(len(mask))
	return and(load(base, offset, n, 1),
		match{&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: n, Mask: mask, Xor: make([]byte, n)}},
		compare(1, op, want))
}

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) match {
	return and(match{&expr.Meta{Key: key, Register: 1}}, compare(1, op, data))
}

// l3 holds for packets of one EtherType. Both families of tables see it the same way.
func l3(etherType uint16) match { return meta(expr.MetaKeyPROTOCOL, expr.CmpOpEq, be16(etherType)) }

func l4(proto byte) match { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}) }

// flags holds when of the TCP flags in mask exactly those in want are set, or when
// they are not, by op.
func flags(mask, want byte, op expr.CmpOp) match {
	return masked(transport, 13, []byte{mask}, []byte{want}, op)
}

// key loads fields into consecutive registers.
type key struct {
	base   expr.PayloadBase
	offset uint32
	size   uint32
	proto  bool // the transport protocol's number instead
	zero   bool // zeros instead
}

func loadKey(fields ...key) match {
	var m match
	var word uint32
	for _, f := range fields {
		switch {
		case f.proto:
			m = append(m, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(word)})
		case f.zero:
			m = append(m, &expr.Immediate{Register: register(word), Data: make([]byte, f.size)})
		default:
			m = append(m, load(f.base, f.offset, f.size, register(word))...)
		}
		word += (f.size + 3) / 4
	}
	return m
}

// in holds when the loaded key is an element of the set; notIn when it is not.
func in(set string) match {
	return match{&expr.Lookup{SourceRegister: keyRegister, SetName: set}}
}

func notIn(set string) match {
	return match{&expr.Lookup{SourceRegister: keyRegister, SetName: set, Invert: true}}
}

// remember puts the loaded key into a set, or refreshes it; when the set is full the
// rule ends here.
func remember(set string, operation uint32, timeout time.Duration, count ...expr.Any) match {
	return match{&expr.Dynset{SrcRegKey: keyRegister, SetName: set, Operation: operation, Timeout: timeout, Exprs: count}}
}

func verdict(kind expr.VerdictKind, chain string) match {
	return match{&expr.Verdict{Kind: kind, Chain: chain}}
}

func counted(kind expr.VerdictKind) match {
	return match{&expr.Counter{}, &expr.Verdict{Kind: kind}}
}

// family is where the fields of IPv4 and IPv6 lie.
type family struct {
	number    int
	etherType uint16
	size      uint32 // of an address
	src, dst  uint32 // offsets
	kind      nftables.SetDatatype
}

func families() []family {
	return []family{
		{4, unix.ETH_P_IP, 4, 12, 16, nftables.TypeIPAddr},
		{6, unix.ETH_P_IPV6, 16, 8, 24, nftables.TypeIP6Addr},
	}
}

func (f family) has(a netip.Addr) bool { return a.BitLen() == int(f.size)*8 }

// far is the peer's side of a packet, near ours.
func (f family) far(d direction) key {
	return key{base: network, offset: pick(d, f.src, f.dst), size: f.size}
}
func (f family) near(d direction) key {
	return key{base: network, offset: pick(d, f.dst, f.src), size: f.size}
}

func farPort(d direction) key  { return key{base: transport, offset: pick(d, 0, 2), size: 2} }
func nearPort(d direction) key { return key{base: transport, offset: pick(d, 2, 0), size: 2} }

// is compares a field.
func (k key) is(data []byte) match { return field(k.base, k.offset, data...) }

// simple holds for whole packets of one transport protocol, without IP options,
// extension headers or fragments, so that nothing hides a header from a stateless look.
func (f family) simple(proto byte) match {
	if f.number == 4 {
		return and(l3(f.etherType), field(network, 0, 0x45), field(network, 9, proto),
			masked(network, 6, []byte{0x3f, 0xff}, []byte{0, 0}, expr.CmpOpEq))
	}
	return and(l3(f.etherType), field(network, 6, proto))
}

// direction is the way of a packet as the target sees it.
type direction string

const (
	inbound  direction = "in"
	outbound direction = "out"
)

func directions() []direction { return []direction{inbound, outbound} }

func pick(d direction, in, out uint32) uint32 {
	if d == inbound {
		return in
	}
	return out
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
