package reach

import (
	"slices"
	"strings"
)

// ciliumPeers are the peers of one rule: any one is enough.
type ciliumPeers struct {
	namespace string // of the policy; empty: clusterwide
	none      bool   // the rule names no peer at all
	endpoints []ciliumSelector
	entities  []string
	cidrs     []ciliumCIDR
	unsure    string
}

func (r ciliumRule) peers(namespace string) ciliumPeers {
	p := ciliumPeers{namespace: namespace,
		endpoints: append(slices.Clone(r.FromEndpoints), r.ToEndpoints...),
		entities:  append(slices.Clone(r.FromEntities), r.ToEntities...),
		cidrs:     append(slices.Clone(r.FromCIDRSet), r.ToCIDRSet...),
	}
	for _, c := range append(slices.Clone(r.FromCIDR), r.ToCIDR...) {
		p.cidrs = append(p.cidrs, ciliumCIDR{CIDR: c})
	}
	other := len(r.FromRequires) + len(r.ToRequires) + len(r.FromGroups) + len(r.ToGroups) + len(r.FromNodes) + len(r.ToNodes) + len(r.ToServices) + len(r.ToFQDNs)
	if other > 0 {
		p.unsure = "it names services, domains, nodes or groups, whose addresses are not in it"
	}
	// A list that is there and empty selects nobody; only where there is none is everybody meant.
	named := r.FromEndpoints != nil || r.ToEndpoints != nil || r.FromEntities != nil || r.ToEntities != nil ||
		r.FromCIDR != nil || r.ToCIDR != nil || r.FromCIDRSet != nil || r.ToCIDRSet != nil
	p.none = !named && other == 0
	return p
}

// all: every peer, surely.
func (p ciliumPeers) all() bool { return p.none || slices.Contains(p.entities, "all") }

func (p ciliumPeers) matches(e Endpoint) Answer {
	if p.none {
		return Yes
	}
	out := anyOf(p.endpoints, func(s ciliumSelector) Answer { return s.peer(p.namespace, e) })
	out = out.or(anyOf(p.entities, func(name string) Answer { return entity(name, e) }))
	out = out.or(anyOf(p.cidrs, func(c ciliumCIDR) Answer { return c.matches(e) }))
	if p.unsure != "" {
		out = out.or(Unsure)
	}
	return out
}

// entity answers for one of Cilium's names (docs.cilium.io, "Entities based"). What is not
// a pod may be a node, the API server or the world.
func entity(name string, e Endpoint) Answer {
	switch name {
	case "all":
		return Yes
	case "none":
		return No
	case "cluster":
		if e.Pod != nil {
			return Yes
		}
		return Unsure
	case "world", "world-ipv4", "world-ipv6", "host", "remote-node", "kube-apiserver", "ingress":
		if e.Pod != nil {
			return No
		}
		return Unsure
	}
	return Unsure // init, health, unmanaged, and what comes later
}

// matches: an address of a pod is never matched by a CIDR (docs.cilium.io, "IP/CIDR based").
func (c ciliumCIDR) matches(e Endpoint) Answer {
	switch {
	case e.Pod != nil:
		return No
	case c.CIDR == "":
		return Unsure // a group of them, by reference
	}
	out := within(c.CIDR, e.IP)
	for _, x := range c.Except {
		out = out.and(within(x, e.IP).not())
	}
	return out
}

func (p ciliumPeers) text() string {
	if p.none {
		return "any peer"
	}
	var out []string
	for _, s := range p.endpoints {
		where := ""
		if p.namespace != "" && !s.namesNamespace() {
			where = " of the namespace"
		}
		out = append(out, s.text()+where)
	}
	for _, e := range p.entities {
		out = append(out, "entity "+e)
	}
	for _, c := range p.cidrs {
		text := c.CIDR
		if text == "" {
			text = "a CIDR group"
		}
		if len(c.Except) > 0 {
			text += " except " + strings.Join(c.Except, ", ")
		}
		out = append(out, text)
	}
	if p.unsure != "" {
		out = append(out, "services, domains, nodes or groups")
	}
	if len(out) == 0 {
		return "no peer"
	}
	return strings.Join(out, " or ")
}
