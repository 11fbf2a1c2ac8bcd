//go:build linux

package inside

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is one line of a routing table, of any table.
type Route struct {
	Table    int       `json:"table"`
	To       string    `json:"to"` // "default" for all
	Via      string    `json:"via,omitempty"`
	From     string    `json:"from,omitempty"` // preferred source address
	Device   int       `json:"ifindex,omitempty"`
	Type     string    `json:"type,omitempty"`     // unicast, local, blackhole, …
	Protocol string    `json:"protocol,omitempty"` // who set it: kernel, boot, static, …
	Scope    string    `json:"scope,omitempty"`
	Priority int       `json:"priority,omitempty"`
	Hops     []NextHop `json:"hops,omitempty"`
}

// NextHop is one of several ways of a route.
type NextHop struct {
	Via    string `json:"via,omitempty"`
	Device int    `json:"ifindex"`
}

// Neighbour is an address that was asked for on a link, in either family.
type Neighbour struct {
	Address string `json:"address"`
	MAC     string `json:"mac,omitempty"`
	Device  int    `json:"ifindex"`
	State   string `json:"state"`
}

const maxRoutes = 4096 // of each table of routes, neighbours, rules

// routing reads routes, rules and neighbours of the calling thread's network namespace.
func (n *Network) routing() {
	n.Routes, n.Neighbours, n.Rules = []Route{}, []Neighbour{}, []string{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		count := 0
		// Table 0 asks for all of them.
		err := netlink.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if count++; count > maxRoutes {
				n.Unread["routes"] = "only the first 4096 of a family"
				return false
			}
			n.Routes = append(n.Routes, route(r))
			return true
		})
		if err != nil {
			n.Unread["routes"] = cause(err)
		}
		rules, err := netlink.RuleList(family)
		if err != nil {
			n.Unread["rules"] = cause(err)
		}
		for _, r := range rules[:min(len(rules), maxRoutes)] {
			n.Rules = append(n.Rules, r.String())
		}
		neighbours, err := netlink.NeighList(0, family)
		if err != nil {
			n.Unread["neighbours"] = cause(err)
		}
		for _, a := range neighbours[:min(len(neighbours), maxRoutes)] {
			n.Neighbours = append(n.Neighbours, Neighbour{Address: a.IP.String(), MAC: a.HardwareAddr.String(), Device: a.LinkIndex, State: neighbourState(a.State)})
		}
	}
}

func route(r netlink.Route) Route {
	out := Route{
		Table: r.Table, To: "default", Via: address(r.Gw), From: address(r.Src), Device: r.LinkIndex,
		Protocol: r.Protocol.String(), Scope: r.Scope.String(), Priority: r.Priority, Type: routeTypes[r.Type],
	}
	if r.Dst != nil {
		if ones, _ := r.Dst.Mask.Size(); ones > 0 || !r.Dst.IP.IsUnspecified() {
			out.To = r.Dst.String()
		}
	}
	for _, h := range r.MultiPath {
		out.Hops = append(out.Hops, NextHop{Via: address(h.Gw), Device: h.LinkIndex})
	}
	return out
}

func address(ip net.IP) string {
	if ip == nil {
		return ""
	}
	return ip.String()
}

// routeTypes are those of rtnetlink(7).
var routeTypes = map[int]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast",
	unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw", unix.RTN_NAT: "nat",
}

func neighbourState(s int) string {
	for _, n := range []struct {
		bit  int
		name string
	}{
		{netlink.NUD_PERMANENT, "permanent"}, {netlink.NUD_NOARP, "noarp"}, {netlink.NUD_REACHABLE, "reachable"}, {netlink.NUD_STALE, "stale"},
		{netlink.NUD_DELAY, "delay"}, {netlink.NUD_PROBE, "probe"}, {netlink.NUD_FAILED, "failed"}, {netlink.NUD_INCOMPLETE, "incomplete"},
	} {
		if s&n.bit != 0 {
			return n.name
		}
	}
	return "none"
}

// attached fills in what hangs on a device: a program at XDP, which sees and changes
// packets before any filter, and what the device is.
func (i *Interface) attached(l netlink.Link) {
	a := l.Attrs()
	i.Kind, i.Alias = l.Type(), a.Alias
	i.Promiscuous = a.Promisc
	if a.Xdp != nil && a.Xdp.Attached {
		i.XDP = a.Xdp.ProgId
	}
	filters := func(parent uint32) {
		fs, err := netlink.FilterList(l, parent)
		if err != nil {
			return
		}
		for _, f := range fs[:min(len(fs), 64)] {
			name := f.Type()
			if b, ok := f.(*netlink.BpfFilter); ok {
				name += " " + b.Name
			}
			name, _ = text(name)
			i.Filters = append(i.Filters, name)
		}
	}
	filters(netlink.HANDLE_MIN_INGRESS)
	filters(netlink.HANDLE_MIN_EGRESS)
}
