package evidence

import (
	"net/netip"
	"time"
)

// Flow is a connection as the target's network namespace shows it.
type Flow struct {
	Proto  string         `json:"proto"` // tcp, udp
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	State  string         `json:"state"` // ESTABLISHED, LISTEN
	Inode  uint64         `json:"inode,omitempty"`
	PID    int            `json:"pid,omitempty"` // in the target's PID namespace; 0: not found
	Comm   string         `json:"comm,omitempty"`
	Sent   uint64         `json:"bytes_acked"`
	Recv   uint64         `json:"bytes_received"`
}

// Stood is a connection that stood when the cut was made, and what it moved: between the
// opening look and the cut, and since.
type Stood struct {
	Flow
	Before uint64 `json:"moved_before"`        // bytes, both ways
	Since  uint64 `json:"moved_since_the_cut"` // bytes, both ways
	Gone   bool   `json:"gone,omitempty"`      // its socket is closed by now
	Probe  bool   `json:"probe,omitempty"`     // through a hole for the kubelet's probes
}

// Probe is one connection that is tried, from inside or from outside.
type Probe struct {
	Name    string         `json:"name"`  // api-server, dns-udp, dns-tcp, node, metadata, sibling, canary
	Proto   string         `json:"proto"` // tcp, udp (a DNS question)
	Addr    netip.AddrPort `json:"addr"`
	Inbound bool           `json:"inbound,omitempty"` // from the probe pod to the target
}

// ProbeResult is one try.
type ProbeResult struct {
	Probe
	At       time.Time     `json:"at"`
	Answered bool          `json:"answered"`
	Took     time.Duration `json:"took_ns"`
	Error    string        `json:"error,omitempty"`
	Pinhole  bool          `json:"pinhole,omitempty"` // through a hole in the cut made for it
	// Compared marks a try of the probe pod's own, to tell that the other end answers others.
	Compared bool `json:"compared,omitempty"`
}

// Hole is one exception in the cut, for the kubelet's probes: stateless TCP between
// Peer and the declared Port, never a connection from the target outwards.
type Hole struct {
	Peer      netip.Addr `json:"peer"`
	Port      uint16     `json:"port"`
	Why       string     `json:"why"` // node address, CNI host address, default gateway
	PacketsIn uint64     `json:"packets_in"`
	BytesIn   uint64     `json:"bytes_in"`
	PacketsOu uint64     `json:"packets_out"`
	BytesOut  uint64     `json:"bytes_out"`
}

// Allow is a peer that --allow asked to leave reachable, both directions.
type Allow struct {
	Prefix netip.Prefix `json:"prefix"`
	Port   uint16       `json:"port"`  // 0: any
	Proto  string       `json:"proto"` // tcp, udp; empty: both
}

// Attempt is a destination that the target still tried after the cut: evidence.
type Attempt struct {
	Proto   uint8      `json:"proto"` // IP protocol number
	Addr    netip.Addr `json:"addr"`
	Port    uint16     `json:"port"`
	Packets uint64     `json:"packets,omitempty"`
}

// CutReport is what the cut in the network namespace tells of itself.
type CutReport struct {
	Installed  time.Time     `json:"installed"` // when the kernel had taken the rules
	Took       time.Duration `json:"took_ns"`
	Hooks      []string      `json:"hooks"` // netdev-ingress, netdev-egress, inet, clsact
	Devices    []string      `json:"devices"`
	Holes      []Hole        `json:"holes"`
	Allowed    []Allow       `json:"allowed"`
	DroppedIn  uint64        `json:"dropped_in"` // packets, of both hooks
	DroppedOut uint64        `json:"dropped_out"`
	Attempts   []Attempt     `json:"attempts"`
	// Uncovered are devices that only the IP layer holds: they came after the cut, or
	// the kernel refused a rule on them. Packet sockets pass there.
	Uncovered []string `json:"uncovered,omitempty"`
	// Weak says why the target could undo or pass the cut: NET_ADMIN, an AF_XDP
	// socket. Empty: it cannot.
	Weak []string `json:"weak,omitempty"`
	// Kept says that a hand watches the rules and puts them back at once when someone
	// changes them; Reasserted how often it had to, Reasserting when last, and Reopened how
	// long, in all, from when it was told of a change until the rules stood again.
	Kept        bool          `json:"kept,omitempty"`
	Reasserted  int           `json:"reasserted,omitempty"`
	Reasserting *time.Time    `json:"last_reasserted,omitempty"`
	Reopened    time.Duration `json:"reopened_ns,omitempty"`
}
