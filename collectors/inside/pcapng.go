//go:build linux

package inside

import (
	"encoding/binary"
	"io"
	"time"
)

// pcapng writes packets in the format pcapng (draft-ietf-opsawg-pcapng), in the processor's
// order of bytes, with times in nanoseconds.
type pcapng struct {
	w     io.Writer
	names map[int]string // of the devices, by index
	ids   map[int]uint32 // of the devices that were described
}

// Types of blocks, and options of them.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockPacket     = 6
	blockStatistics = 5

	optName, optResolution, optFlags           = 2, 9, 2
	optReceived, optDropped                    = 4, 5
	linkEthernet, linkRaw, linkUser            = 1, 101, 147
	hardwareEthernet, hardwareLoopback         = 1, 772
	hardwareNone, hardwareIPIP, hardSIT        = 65534, 768, 776
	snapLength                                 = 256 << 10
	directionIn, directionOut           uint32 = 1, 2
)

func (p *pcapng) block(kind uint32, body []byte) error {
	ne := binary.NativeEndian
	size := uint32(12 + len(body))
	b := ne.AppendUint32(ne.AppendUint32(make([]byte, 0, size), kind), size)
	_, err := p.w.Write(ne.AppendUint32(append(b, body...), size))
	return err
}

// option appends one, padded to 32 bits.
func option(b []byte, code uint16, value []byte) []byte {
	ne := binary.NativeEndian
	b = ne.AppendUint16(ne.AppendUint16(b, code), uint16(len(value)))
	return append(append(b, value...), make([]byte, -len(value)&3)...)
}

func (p *pcapng) begin() error {
	ne := binary.NativeEndian
	b := ne.AppendUint32(nil, 0x1a2b3c4d)
	b = ne.AppendUint16(ne.AppendUint16(b, 1), 0)
	return p.block(blockSection, ne.AppendUint64(b, ^uint64(0)))
}

// device describes a device before its first packet.
func (p *pcapng) device(index int, hardware uint16) (uint32, error) {
	if id, ok := p.ids[index]; ok {
		return id, nil
	}
	link := uint16(linkUser)
	switch hardware {
	case hardwareEthernet, hardwareLoopback:
		link = linkEthernet
	case hardwareNone, hardwareIPIP, hardSIT:
		link = linkRaw
	}
	ne := binary.NativeEndian
	b := ne.AppendUint32(ne.AppendUint16(ne.AppendUint16(nil, link), 0), snapLength)
	if name := p.names[index]; name != "" {
		b = option(b, optName, []byte(name))
	}
	b = option(option(b, optResolution, []byte{9}), 0, nil)
	if p.ids == nil {
		p.ids = map[int]uint32{}
	}
	id := uint32(len(p.ids))
	p.ids[index] = id
	return id, p.block(blockInterface, b)
}

// packet writes one; data is as much of its length as was kept.
func (p *pcapng) packet(device uint32, at time.Time, direction uint32, length int, data []byte) error {
	ne := binary.NativeEndian
	n := uint64(at.UnixNano())
	b := make([]byte, 0, 48+len(data))
	for _, w := range []uint32{device, uint32(n >> 32), uint32(n), uint32(len(data)), uint32(length)} {
		b = ne.AppendUint32(b, w)
	}
	b = append(append(b, data...), make([]byte, -len(data)&3)...)
	return p.block(blockPacket, option(option(b, optFlags, ne.AppendUint32(nil, direction)), 0, nil))
}

// end writes how many packets there were, and how many the kernel dropped: of all devices,
// told of each.
func (p *pcapng) end(at time.Time, received, dropped uint64) error {
	ne := binary.NativeEndian
	n := uint64(at.UnixNano())
	for id := range uint32(len(p.ids)) {
		b := ne.AppendUint32(ne.AppendUint32(ne.AppendUint32(nil, id), uint32(n>>32)), uint32(n))
		b = option(option(b, optReceived, ne.AppendUint64(nil, received)), optDropped, ne.AppendUint64(nil, dropped))
		if err := p.block(blockStatistics, option(b, 0, nil)); err != nil {
			return err
		}
	}
	return nil
}
