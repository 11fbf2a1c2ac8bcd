//go:build linux

package inside

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// captured is a packet as a reader of pcapng finds it.
type captured struct {
	device string
	link   uint16
	at     time.Time
	length int
	data   []byte
}

// readPcapng reads what was written, block by block; every length must fit.
func readPcapng(t *testing.T, b []byte) (packets []captured, statistics int) {
	t.Helper()
	ne := binary.NativeEndian
	type device struct {
		name string
		link uint16
	}
	var devices []device
	for first := true; len(b) > 0; first = false {
		if len(b) < 12 {
			t.Fatalf("%d bytes are no block", len(b))
		}
		kind, size := ne.Uint32(b), ne.Uint32(b[4:])
		if size%4 != 0 || int(size) > len(b) || ne.Uint32(b[size-4:]) != size {
			t.Fatalf("block %#x of %d bytes in %d", kind, size, len(b))
		}
		body := b[8 : size-4]
		b = b[size:]
		if first != (kind == blockSection) {
			t.Fatalf("block %#x, first: %v", kind, first)
		}
		switch kind {
		case blockSection:
			if ne.Uint32(body) != 0x1a2b3c4d {
				t.Fatalf("magic %x", body[:4])
			}
		case blockInterface:
			d := device{link: ne.Uint16(body)}
			if ne.Uint16(body[8:]) == optName {
				d.name = string(body[12 : 12+ne.Uint16(body[10:])])
			}
			devices = append(devices, d)
		case blockPacket:
			d, n := devices[ne.Uint32(body)], ne.Uint32(body[12:])
			at := int64(ne.Uint32(body[4:]))<<32 | int64(ne.Uint32(body[8:]))
			packets = append(packets, captured{d.name, d.link, time.Unix(0, at), int(ne.Uint32(body[16:])), body[20 : 20+n]})
		case blockStatistics:
			statistics++
		default:
			t.Fatalf("block %#x", kind)
		}
	}
	return packets, statistics
}

// record asks for packets while say sends them, until the capture is there.
func record(t *testing.T, q agent.Request, say func(i int)) got {
	t.Helper()
	q.Kind = "packets"
	var g got
	// On this thread: the capture is of its network namespace.
	err := New(Options{TargetPID: unix.Getpid()}).Collect(t.Context(), q, func(h agent.Header, body io.Reader) error {
		g.Header = h
		if body == nil {
			return nil
		}
		end := make(chan struct{})
		go func() {
			defer close(end)
			g.bytes, g.err = io.ReadAll(body)
			g.trailer = body.(interface{ Trailer() evidence.Trailer }).Trailer()
		}()
		for i := 0; ; i++ {
			select {
			case <-end:
				return nil
			case <-time.After(2 * time.Millisecond):
				say(i)
			}
		}
	})
	must(t, err)
	return g
}

// TestPackets sends on the loopback device of a network namespace of its own, and finds it
// in the capture, once.
func TestPackets(t *testing.T) {
	ownNetwork(t)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer conn.Close()
	say := func(i int) {
		_, _ = conn.WriteTo([]byte{byte(i >> 8), byte(i), 'E', 'X', 'F', 'I', 'L'}, conn.LocalAddr())
	}
	began := time.Now()
	g := record(t, agent.Request{Window: 400 * time.Millisecond}, say)
	if g.Absent != nil || g.err != nil {
		t.Fatalf("%+v, %v", g.Absent, g.err)
	}
	packets, statistics := readPcapng(t, g.bytes)
	seen := map[string]int{}
	for _, p := range packets {
		if i := bytes.Index(p.data, []byte("EXFIL")); i > 0 {
			seen[string(p.data[i-2:i])]++
			if p.device != "lo" || p.link != linkEthernet || p.length != len(p.data) || p.at.Before(began) || p.at.After(time.Now()) {
				t.Errorf("%+v", p)
			}
		}
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%x is there %d times", n, times)
		}
	}
	if len(seen) == 0 || statistics != 1 {
		t.Errorf("%d of ours in %d packets, %d blocks of statistics", len(seen), len(packets), statistics)
	}
	if notes := strings.Join(g.trailer.Notes, "\n"); !strings.Contains(notes, "dropped by the kernel") {
		t.Errorf("notes: %s", notes)
	}
	g = record(t, agent.Request{Window: time.Minute, MaxBytes: 4 << 10}, say)
	if !errors.Is(g.err, ErrLimit) || len(g.bytes) > 4<<10 {
		t.Errorf("with a budget of 4 KiB: %d bytes, %v", len(g.bytes), g.err)
	}
	if packets, _ := readPcapng(t, g.bytes); len(packets) == 0 {
		t.Error("a capture that was cut holds nothing")
	}
}

// TestPacketsOfTheNodeStayOut: in the node's own namespace nothing is captured.
func TestPacketsOfTheNodeStayOut(t *testing.T) {
	if (proc{"/proc"}).namespace(1, "pid") != initialPID {
		t.Skip("this machine's first process is in a PID namespace of its own: it is no node")
	}
	all := collect(t, New(Options{TargetPID: unix.Getpid()}), agent.Request{Kind: "packets"})
	if len(all) != 1 || all[0].Absent == nil {
		t.Errorf("%d artifacts, %+v", len(all), all[0].Header)
	}
}

// FuzzPcapng: whatever passes, each block says its own length.
func FuzzPcapng(f *testing.F) {
	f.Add([]byte("packet"), "eth0", 9000, uint16(1))
	f.Add([]byte{}, "", 0, uint16(65534))
	f.Fuzz(func(t *testing.T, data []byte, name string, length int, hardware uint16) {
		var b bytes.Buffer
		p := pcapng{w: &b, names: map[int]string{3: name[:min(len(name), 15)]}}
		must(t, p.begin())
		id, err := p.device(3, hardware)
		must(t, err)
		must(t, p.packet(id, time.Unix(1, 2), directionIn, length, data))
		must(t, p.end(time.Unix(3, 4), 1, 0))
		packets, statistics := readPcapng(t, b.Bytes())
		if len(packets) != 1 || !bytes.Equal(packets[0].data, data) || !packets[0].at.Equal(time.Unix(1, 2)) || statistics != 1 {
			t.Fatalf("%+v", packets)
		}
		_ = stamp(data)
	})
}
