package reach

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type calicoRule struct {
	Action      string              `json:"action"`
	IPVersion   *int                `json:"ipVersion"`
	Protocol    *intstr.IntOrString `json:"protocol"`
	NotProtocol *intstr.IntOrString `json:"notProtocol"`
	ICMP        json.RawMessage     `json:"icmp"`
	NotICMP     json.RawMessage     `json:"notICMP"`
	Source      calicoEntity        `json:"source"`
	Destination calicoEntity        `json:"destination"`
	HTTP        json.RawMessage     `json:"http"`
	Metadata    json.RawMessage     `json:"metadata"`
}

type calicoEntity struct {
	Nets              []string             `json:"nets"`
	NotNets           []string             `json:"notNets"`
	Selector          string               `json:"selector"`
	NotSelector       string               `json:"notSelector"`
	NamespaceSelector string               `json:"namespaceSelector"`
	Ports             []intstr.IntOrString `json:"ports"`
	NotPorts          []intstr.IntOrString `json:"notPorts"`
	Services          json.RawMessage      `json:"services"`
	ServiceAccounts   json.RawMessage      `json:"serviceAccounts"`
	Domains           []string             `json:"domains"`
}

// calicoEnd is an entity, read.
type calicoEnd struct {
	calicoEntity
	namespace       string // of the policy; empty: global
	pods, not, from selector
	ports, notPorts []portSpan
}

func (e calicoEntity) read(namespace string) (calicoEnd, error) {
	out := calicoEnd{calicoEntity: e, namespace: namespace}
	var err error
	if out.pods, err = parseCalico(e.Selector); err != nil {
		return out, err
	}
	if out.not, err = parseCalico(e.NotSelector); err != nil {
		return out, err
	}
	if out.from, err = parseCalico(e.NamespaceSelector); err != nil {
		return out, err
	}
	if out.ports, err = calicoPorts(e.Ports); err != nil {
		return out, err
	}
	out.notPorts, err = calicoPorts(e.NotPorts)
	return out, err
}

func calicoPorts(all []intstr.IntOrString) ([]portSpan, error) {
	var out []portSpan
	for _, p := range all {
		s, err := span(p.String(), 0, "")
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (e calicoEntity) empty() bool {
	return len(e.Nets)+len(e.NotNets)+len(e.Ports)+len(e.NotPorts)+len(e.Services)+len(e.ServiceAccounts)+len(e.Domains) == 0 &&
		e.Selector == "" && e.NotSelector == "" && e.NamespaceSelector == ""
}

// clause reads one rule. The peer is the source on the way in, the destination on the way
// out; what a rule says of the subject's own end counts too.
func (r calicoRule) clause(namespace string, d networkingv1.PolicyType, n int) (clause, error) {
	a, err := r.action()
	if err != nil {
		return clause{}, err
	}
	source, err := r.Source.read(namespace)
	if err != nil {
		return clause{}, err
	}
	dest, err := r.Destination.read(namespace)
	if err != nil {
		return clause{}, err
	}
	peer, own, way := source, dest, "from"
	if d == networkingv1.PolicyTypeEgress {
		peer, own, way = dest, source, "to"
	}
	c := clause{direction: d, action: a, rule: fmt.Sprintf("%s[%d]", word(d), n)}
	narrow := r.IPVersion != nil || len(r.ICMP)+len(r.NotICMP)+len(r.HTTP) > 0
	c.everything = r.Source.empty() && r.Destination.empty() && r.Protocol == nil && r.NotProtocol == nil && !narrow
	if len(peer.Services)+len(peer.ServiceAccounts)+len(peer.Domains) > 0 {
		c.unsure = "it names services, accounts or domains, whose addresses are not in it"
	}
	c.text = fmt.Sprintf("%s %s %s on %s", word(d), way, peer.text(), r.portsText(dest))
	c.matches = func(s *PodEnd, f Flow) Answer {
		out := r.protocol(f).and(peer.peer(f.Peer)).and(own.own(s))
		out = out.and(dest.port(destination(s, f), f))
		if len(source.ports)+len(source.notPorts) > 0 || narrow {
			out = out.and(Unsure)
		}
		return out
	}
	return c, nil
}

func (r calicoRule) protocol(f Flow) Answer {
	out := Yes
	if r.Protocol != nil {
		out = out.and(isProtocol(*r.Protocol, f.Protocol))
	}
	if r.NotProtocol != nil {
		out = out.and(isProtocol(*r.NotProtocol, f.Protocol).not())
	}
	return out
}

func isProtocol(p intstr.IntOrString, want corev1.Protocol) Answer {
	numbers := map[corev1.Protocol]string{corev1.ProtocolTCP: "6", corev1.ProtocolUDP: "17", corev1.ProtocolSCTP: "132"}
	return answer(strings.EqualFold(p.String(), string(want)) || p.String() == numbers[want])
}

func (r calicoRule) portsText(dest calicoEnd) string {
	text := spansText(dest.ports)
	if r.Protocol != nil {
		text = r.Protocol.String() + " " + text
	}
	if len(dest.notPorts) > 0 {
		text += " but " + spansText(dest.notPorts)
	}
	return text
}

func (e calicoEnd) port(dest *PodEnd, f Flow) Answer {
	out := spans(e.ports, dest, f)
	if len(e.notPorts) > 0 {
		out = out.and(spans(e.notPorts, dest, f).not())
	}
	return out
}

// peer: addresses and labels must both fit. What is no pod may still be in a network set,
// which has labels.
func (e calicoEnd) peer(p Endpoint) Answer {
	out := e.nets(p.IP)
	if len(e.Services)+len(e.ServiceAccounts)+len(e.Domains) > 0 {
		out = out.and(Unsure)
	}
	if p.Pod == nil {
		if e.Selector+e.NotSelector+e.NamespaceSelector != "" {
			out = out.and(Unsure)
		}
		return out
	}
	return out.and(e.labels(*p.Pod))
}

// own is the subject's end; its address is not asked for here.
func (e calicoEnd) own(p *PodEnd) Answer {
	out := e.labels(*p)
	if len(e.Nets)+len(e.NotNets)+len(e.Services)+len(e.ServiceAccounts)+len(e.Domains) > 0 {
		out = out.and(Unsure)
	}
	return out
}

func (e calicoEnd) labels(p PodEnd) Answer {
	out := Yes
	if e.Selector != "" {
		out = out.and(e.pods.matches(calicoLabels(p)))
	}
	if e.NotSelector != "" {
		out = out.and(e.not.matches(calicoLabels(p)).not())
	}
	switch {
	case e.NamespaceSelector != "":
		out = out.and(e.from.matches(calicoNamespace(p)))
	case e.namespace != "" && e.Selector+e.NotSelector != "":
		out = out.and(answer(p.Namespace == e.namespace))
	}
	return out
}

func (e calicoEnd) nets(ip netip.Addr) Answer {
	out := Yes
	if len(e.Nets) > 0 {
		out = anyOf(e.Nets, func(cidr string) Answer { return within(cidr, ip) })
	}
	for _, cidr := range e.NotNets {
		out = out.and(within(cidr, ip).not())
	}
	return out
}

func (e calicoEnd) text() string {
	var out []string
	add := func(before, text string) {
		if text != "" {
			out = append(out, before+text)
		}
	}
	add("", strings.Join(e.Nets, " or "))
	add("not ", strings.Join(e.NotNets, " or "))
	add("pods with ", e.Selector)
	add("pods without ", e.NotSelector)
	add("namespaces with ", e.NamespaceSelector)
	if len(e.Services)+len(e.ServiceAccounts)+len(e.Domains) > 0 {
		out = append(out, "services, accounts or domains")
	}
	if len(out) == 0 {
		return "any peer"
	}
	return strings.Join(out, ", ")
}
