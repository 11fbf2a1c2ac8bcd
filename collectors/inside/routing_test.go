//go:build linux

package inside

import (
	"encoding/json"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// ownNetwork gives the test a network namespace of its own. Its thread is never used
// for anything else again.
func ownNetwork(t *testing.T) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of its own: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
}

// TestNetwork plants a device, a route in a table of its own, a rule that leads to it, and
// neighbours of both families; each must be told.
func TestNetwork(t *testing.T) {
	ownNetwork(t)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "exfil0"}, PeerName: "exfil1"}); err != nil {
		t.Skipf("no veth device on this kernel: %v", err)
	}
	link, err := netlink.LinkByName("exfil0")
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 51, 100, 1), Mask: net.CIDRMask(24, 32)}}))
	_, to, _ := net.ParseCIDR("203.0.113.0/24")
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Gw: net.IPv4(198, 51, 100, 9), Table: 4242}))
	rule := netlink.NewRule()
	rule.Table, rule.Priority = 4242, 7
	must(t, netlink.RuleAdd(rule))
	mac, _ := net.ParseMAC("02:00:00:00:00:09")
	for _, ip := range []net.IP{net.ParseIP("198.51.100.9"), net.ParseIP("fe80::9")} {
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: mac}))
	}
	pid := start(t, alone(suspect("wait")))
	var n Network
	must(t, json.Unmarshal(one(t, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "connections"}), "network").bytes, &n))
	index := link.Attrs().Index
	if !slices.ContainsFunc(n.Routes, func(r Route) bool {
		return r.Table == 4242 && r.To == "203.0.113.0/24" && r.Via == "198.51.100.9" && r.Device == index && r.Type == "unicast"
	}) {
		t.Errorf("the route of table 4242 is not in %+v", n.Routes)
	}
	if !slices.ContainsFunc(n.Rules, func(r string) bool { return strings.HasPrefix(r, "ip rule 7:") }) {
		t.Errorf("the rule is not in %q", n.Rules)
	}
	for _, a := range []string{"198.51.100.9", "fe80::9"} {
		if !slices.Contains(n.Neighbours, Neighbour{Address: a, MAC: mac.String(), Device: index, State: "permanent"}) {
			t.Errorf("neighbour %s is not in %+v", a, n.Neighbours)
		}
	}
	if !slices.ContainsFunc(n.Interfaces, func(i Interface) bool { return i.Name == "exfil0" && i.Kind == "veth" }) {
		t.Errorf("the device is not in %+v", n.Interfaces)
	}
	for what, why := range n.Unread {
		if what == "routes" || what == "rules" || what == "neighbours" || what == "links" {
			t.Errorf("%s: %s", what, why)
		}
	}
}

// TestSocketsWithoutATable: a socket that a process holds is told of, whatever its kind.
func TestSocketsWithoutATable(t *testing.T) {
	fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if fd, err = unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Skipf("neither AF_ALG nor AF_VSOCK here: %v", err)
		}
	}
	defer unix.Close(fd)
	m, err := metaOf(fd)
	must(t, err)
	cmd := suspect("wait")
	pid := start(t, cmd)
	r := New(Options{TargetPID: pid, Self: pid}) // so that this process is one of the others
	for _, s := range lines[Socket](t, one(t, collect(t, r, agent.Request{Kind: "connections"}), "connections").bytes) {
		if s.Inode == m.Ino && s.Proto == "other" {
			if s.Kernel == "" || len(s.Owners) == 0 {
				t.Errorf("%+v", s)
			}
			return
		}
	}
	t.Error("the socket was not told of")
}
