package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

// socket is what the page shows of a line of the artifact connections. Addresses are text
// here: a line with an odd one is still shown.
type socket struct {
	Opened string  `json:"opened"`
	Proto  string  `json:"proto"`
	State  string  `json:"state"`
	Type   string  `json:"type"`
	Local  string  `json:"local"`
	Remote string  `json:"remote"`
	Inode  uint64  `json:"inode"`
	Sent   *uint64 `json:"bytes_acked"`
	Recv   *uint64 `json:"bytes_received"`
	Owners []owner `json:"owners"`
	PID    int     `json:"pid"`
	Comm   string  `json:"comm"`
}

type owner struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	Exe  string `json:"exe"`
	Self bool   `json:"self"`
}

type socketRow struct {
	socket
	Seen string // before the cut, after, both
	Tone string
}

type socketTable struct {
	Entry       evidence.Entry
	Rows        pages
	Established int
	Unix        int // counted, not shown
}

func (s *source) sockets(e evidence.Entry) {
	t := socketTable{Entry: e}
	byKey := map[string]*socketRow{}
	var rows []*socketRow
	two := map[string]bool{}
	unix := map[string]bool{}
	bad, more, err := payload.Entry(s.bag, e, maxLines, func(k socket) {
		if k.Proto == "unix" {
			unix[fmt.Sprint(k.Inode)] = true
			return
		}
		two[k.Opened] = true
		if len(k.Owners) == 0 && k.PID != 0 {
			k.Owners = []owner{{PID: k.PID, Comm: k.Comm}}
		}
		key := strings.Join([]string{k.Proto, k.Type, k.Local, k.Remote, k.State, fmt.Sprint(k.Inode)}, "\x00")
		if old := byKey[key]; old != nil {
			if !strings.Contains(old.Seen, seen(k.Opened)) {
				old.Seen = "both"
			}
			if len(old.Owners) == 0 {
				old.Owners = k.Owners
			}
			old.Sent, old.Recv = k.Sent, k.Recv
			return
		}
		byKey[key] = &socketRow{socket: k, Seen: seen(k.Opened)}
		rows = append(rows, byKey[key])
	})
	s.absent(e.Parts[0].Path, "connections of "+where(e), err)
	s.partly(e.Parts[0].Path, "connections of "+where(e), bad, more)
	slices.SortStableFunc(rows, func(a, b *socketRow) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Local, b.Local), cmp.Compare(a.Remote, b.Remote))
	})
	for _, r := range rows {
		if len(two) < 2 {
			r.Seen = ""
		}
		if order(r) == 0 {
			t.Established++
			r.Tone = "warn"
		}
		if r.Proto == "packet" || r.Proto == "xdp" || r.Proto == "raw" {
			r.Tone = "bad"
		}
	}
	t.Rows, t.Unix = paged(rows, e.Parts[0].Path), len(unix)
	s.v.Sockets = append(s.v.Sockets, t)
}

func seen(opened string) string {
	if opened == "opening" {
		return "before the cut"
	}
	return "later"
}

// order puts first what leads somewhere, then what bypasses or waits, then the rest.
func order(r *socketRow) int {
	switch {
	case r.State == "ESTABLISHED" || r.State == "SYN_SENT" || r.State == "SYN_RECV":
		return 0
	case r.Proto == "packet" || r.Proto == "xdp" || r.Proto == "raw":
		return 1
	case r.State == "LISTEN":
		return 2
	}
	return 3
}
