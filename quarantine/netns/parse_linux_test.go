package netns

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// What a cut says of itself in comments must come back as what was asked, whatever the
// words were.
func FuzzSpecComesBackFromItsComments(f *testing.F) {
	f.Add([]byte{10, 9, 0, 1}, uint16(8080), "node address", uint8(24), "tcp", int64(1))
	f.Add(make([]byte, 16), uint16(1), "why \"\n \\ ü  two  spaces ", uint8(0), "", int64(0))
	f.Add([]byte{0xfe, 0x80, 15: 1}, uint16(65535), strings.Repeat("x", 300), uint8(128), "udp", int64(1<<62))
	f.Fuzz(func(t *testing.T, addr []byte, port uint16, why string, bits uint8, proto string, at int64) {
		peer, ok := netip.AddrFromSlice(addr)
		if !ok {
			return
		}
		c := agent.Cut{Case: "c", Holes: []evidence.Hole{{Peer: peer, Port: port, Why: why}},
			Allow: []evidence.Allow{{Prefix: netip.PrefixFrom(peer, int(bits)), Port: port, Proto: proto}}}
		want, err := newSpec(c)
		if err != nil {
			return
		}
		want.started, want.nextHops, want.qdiscs = time.Unix(0, at).UTC(), []netip.Addr{peer}, []int{2, 7}
		comments := want.about()
		for i, text := range comments {
			if comments[i] = comment(encodeComment(text)); comments[i] != text {
				t.Fatalf("comment %q comes back as %q", text, comments[i])
			}
		}
		got, err := readAbout("c", comments)
		if err != nil {
			t.Fatalf("%q: %v", comments, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v comes back as %+v", want, got)
		}
		if again := plan(got, nil); !reflect.DeepEqual(again, plan(want, nil)) {
			t.Error("the plan is another")
		}
	})
}

func FuzzHostileComments(f *testing.F) {
	f.Add("irkit 1 clsact 5\nhole 10.0.0.1 80 x\nallow 10.0.0.0/8 1 tcp\nnext-hop ::1\nclsact 3")
	f.Add("hole\nirkit 1 netdev-egress x")
	f.Fuzz(func(_ *testing.T, text string) {
		if s, err := readAbout("c", strings.Split(text, "\n")); err == nil {
			plan(s, []device{{2, "eth0"}})
		}
	})
}

func FuzzBytes(f *testing.F) {
	question, err := dnsQuestion()
	if err != nil {
		f.Fatal(err)
	}
	reply := append([]byte(nil), question...)
	reply[2] |= 0x80
	f.Add(reply)
	f.Add(encodeComment("hole 10.0.0.1 80"))
	f.Add([]byte{0, 200, 1})
	ours := append(append(make([]byte, 8), native32(filterHandle)...), make([]byte, 8)...)
	f.Add(append(append([]byte(nil), ours...), 5, 0, 2, 0, 1))
	f.Add(append(append([]byte(nil), ours...), 17, 0, 2, 0, 13, 0, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
	f.Add(append(make([]byte, 20), 8, 0, 2, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		if dnsAnswers(question, b) && !bytes.Equal(b[:2], question[:2]) {
			t.Error("another's reply is taken")
		}
		if c := comment(b); len(c) > len(b) {
			t.Errorf("a comment of %d bytes in %d", len(c), len(b))
		}
		for _, fam := range families() {
			if a, ok := parseTried(fam, b); ok && a.Addr.BitLen() != int(fam.size)*8 {
				t.Errorf("%+v", a)
			}
		}
		filterProgram(b)
		extendedError(b)
		parseStatus(string(b)).weak(true)
	})
}

func TestDNSReplies(t *testing.T) {
	q, err := dnsQuestion()
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		r := append([]byte(nil), q...)
		r[2] |= 0x80
		if at >= 0 {
			r[at] = to
		}
		return r
	}
	short := change(5, 0)[:headerLen]
	for name, c := range map[string]struct {
		reply []byte
		want  bool
	}{
		"refused":            {change(3, 5), true},
		"no such name":       {change(3, 3), true},
		"in capitals":        {change(headerLen+1, 'K'), true},
		"header alone":       {short, true},
		"another identifier": {change(0, q[0]^1), false},
		"the question":       {q, false},
		"another operation":  {change(2, 0x80|2<<3), false},
		"another name":       {change(headerLen+1, 'x'), false},
		"two questions":      {change(5, 2), false},
		"cut short":          {change(-1, 0)[:20], false},
		"empty":              {nil, false},
	} {
		if got := dnsAnswers(q, c.reply); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMovedFlows(t *testing.T) {
	f := func(remote, state string, sent uint64) evidence.Flow {
		return evidence.Flow{Proto: "tcp", Local: netip.MustParseAddrPort("10.9.0.2:5"), Remote: netip.MustParseAddrPort(remote), State: state, Sent: sent}
	}
	before := []evidence.Flow{f("10.0.0.1:1", "ESTABLISHED", 5), f("10.0.0.2:1", "ESTABLISHED", 5), f("10.0.0.3:1", "SYN_SENT", 0),
		f("10.0.0.4:1", "SYN_SENT", 0), f("127.0.0.1:1", "ESTABLISHED", 1), f("10.9.0.2:1", "ESTABLISHED", 1), f("10.0.0.7:1", "ESTABLISHED", 9)}
	after := []evidence.Flow{f("10.0.0.1:1", "ESTABLISHED", 5), f("10.0.0.2:1", "ESTABLISHED", 6), f("10.0.0.3:1", "ESTABLISHED", 0),
		f("10.0.0.4:1", "SYN_SENT", 0), f("127.0.0.1:1", "ESTABLISHED", 9), f("10.9.0.2:1", "ESTABLISHED", 9), f("10.0.0.6:1", "ESTABLISHED", 0),
		f("10.0.0.7:1", "FIN_WAIT1", 9)}
	got := moved(before, after, map[netip.Addr]bool{ip("10.9.0.2"): true})
	var to []string
	for _, m := range got {
		to = append(to, m.Remote.String())
	}
	if want := "10.0.0.2:1 10.0.0.3:1 10.0.0.6:1"; strings.Join(to, " ") != want {
		t.Errorf("moved: %v, want %s", to, want)
	}
}
