package sockets

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzAnswers(f *testing.F) {
	v4 := make([]byte, inetMessage)
	v4[0], v4[1] = unix.AF_INET, 1
	f.Add(v4)
	with := binary.NativeEndian.AppendUint16(append([]byte(nil), v4...), 200)
	f.Add(append(binary.NativeEndian.AppendUint16(with, diagInfo), make([]byte, 196)...))
	f.Add(append(append([]byte(nil), v4...), 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseInet("tcp", b); err == nil {
			if s.Family != 4 && s.Family != 6 {
				t.Errorf("family %d", s.Family)
			}
			if !s.Counted && (s.Acked != 0 || s.Recv != 0) {
				t.Errorf("bytes that were not read: %+v", s)
			}
		}
		if _, err := parseUnix(b); err == nil && len(b) < unixMessage {
			t.Error("a short unix answer was read")
		}
		if _, err := parseXDP(b); err == nil && len(b) < xdpMessage {
			t.Error("a short xdp answer was read")
		}
		if _, err := parseVM(b); err == nil && len(b) < vmMessage {
			t.Error("a short vsock answer was read")
		}
		if s, err := parseInet("sctp", b); err == nil && s.Counted {
			t.Error("an SCTP socket has no struct tcp_info")
		}
		total := 0
		attributes(b, func(_ uint16, v []byte) { total += len(v) + 4 })
		if total > len(b) {
			t.Errorf("attributes of %d bytes in %d", total, len(b))
		}
	})
}

func FuzzProcLines(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1 0000 100 0")
	f.Add("00000000b45a3020: 00000003 00000000 00010000 0001 01  1202 @/tmp/x y\tz")
	f.Add("000000005d651fbb 16  4242       00000000 0        0        0     2        0        416")
	f.Add("000000000000 3      3    0003   2     1 0      0      4711")
	f.Fuzz(func(t *testing.T, line string) {
		if s, err := parseProcInet("tcp", line); err == nil && s.Family != 4 && s.Family != 6 {
			t.Errorf("family %d of %q", s.Family, line)
		}
		if u, err := parseProcUnix(line); err == nil && !strings.Contains(line, u.Name) {
			t.Errorf("name %q is not in %q", u.Name, line)
		}
		_, _ = parsePacket(line)
		_, _ = parseProtocol(line, "XDP")
		if n, _, err := parseNetlink(line); err == nil && n.Protocol == "" {
			t.Errorf("a family without a name in %q", line)
		}
		seen := 0
		if err := scan(strings.NewReader("heading\n"+line+"\n"), func(string) { seen++ }); err == nil && seen == 0 && line != "" {
			t.Errorf("%q was not read", line)
		}
	})
}

func TestProcLineIsReadField(t *testing.T) {
	s, err := parseProcInet("tcp", "   0: 0100007F:1F90 0200000A:01BB 01 00000007:00000009 00:00000000 00000000  33  0 4711 1 0000 100 0")
	if err != nil {
		t.Fatal(err)
	}
	if s.Local.String() != "127.0.0.1:8080" || s.Remote.String() != "10.0.0.2:443" || s.State != "ESTABLISHED" ||
		s.SendQ != 7 || s.RecvQ != 9 || s.UID != 33 || s.Inode != 4711 {
		t.Errorf("%+v", s)
	}
	mapped, err := parseProcInet("tcp", "0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000001000000:0000 0A 0:0 00:0 0 0 0 1 1")
	if err != nil || mapped.Local.String() != "127.0.0.1:8080" || mapped.Remote.String() != "[::1]:0" || mapped.Family != 6 {
		t.Errorf("%+v, %v", mapped, err)
	}
}

func TestAssociationIsNotATCPState(t *testing.T) {
	b := make([]byte, inetMessage)
	b[0], b[1] = unix.AF_INET, 3
	if s, err := parseInet("sctp", b); err != nil || s.State != "SYN_RECV" {
		t.Errorf("endpoint: %+v, %v", s, err)
	}
	binary.BigEndian.PutUint16(b[6:], 9)
	if s, err := parseInet("sctp", b); err != nil || s.State != "ESTABLISHED" {
		t.Errorf("association: %+v, %v", s, err)
	}
}
