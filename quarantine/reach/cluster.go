package reach

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clusterSpec is a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2).
type clusterSpec struct {
	Tier     string        `json:"tier"`
	Priority int32         `json:"priority"`
	Subject  clusterPeer   `json:"subject"`
	Ingress  []clusterRule `json:"ingress"`
	Egress   []clusterRule `json:"egress"`
}

type clusterRule struct {
	Name      string            `json:"name"`
	Action    string            `json:"action"`
	From      []clusterPeer     `json:"from"`
	To        []clusterPeer     `json:"to"`
	Protocols []clusterProtocol `json:"protocols"`
}

type clusterPeer struct {
	Namespaces  *metav1.LabelSelector `json:"namespaces"`
	Pods        *clusterPods          `json:"pods"`
	Nodes       *metav1.LabelSelector `json:"nodes"`
	Networks    []string              `json:"networks"`
	DomainNames []string              `json:"domainNames"`
}

type clusterPods struct {
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	PodSelector       metav1.LabelSelector `json:"podSelector"`
}

type clusterProtocol struct {
	TCP                  *clusterPort `json:"tcp"`
	UDP                  *clusterPort `json:"udp"`
	SCTP                 *clusterPort `json:"sctp"`
	DestinationNamedPort string       `json:"destinationNamedPort"`
}

type clusterPort struct {
	DestinationPort *struct {
		Number int32 `json:"number"`
		Range  *struct {
			Start int32 `json:"start"`
			End   int32 `json:"end"`
		} `json:"range"`
	} `json:"destinationPort"`
}

// cluster reads a ClusterNetworkPolicy.
func (f Foreign) cluster() ([]law, error) {
	var s clusterSpec
	if err := strictly(f.Spec, &s); err != nil {
		return nil, err
	}
	l := law{name: f.Title(), stage: adminStage, order: float64(s.Priority), selects: func(p PodEnd) Answer {
		return s.Subject.matches(Endpoint{Pod: &p})
	}}
	switch s.Tier {
	case "Admin":
	case "Baseline":
		l.stage = baselineStage
	default:
		return nil, fmt.Errorf("tier %q is not known", s.Tier)
	}
	for _, d := range directions() {
		rules := s.Ingress
		if d == networkingv1.PolicyTypeEgress {
			rules = s.Egress
		}
		for n, r := range rules {
			c, err := r.clause(d, n)
			if err != nil {
				return nil, err
			}
			l.clauses = append(l.clauses, c)
		}
	}
	return []law{l}, nil
}

func (r clusterRule) clause(d networkingv1.PolicyType, n int) (clause, error) {
	c := clause{direction: d, rule: fmt.Sprintf("%s[%d]", word(d), n)}
	switch r.Action {
	case "Accept":
	case "Deny":
		c.action = deny
	case "Pass":
		c.action = pass
	default:
		return c, fmt.Errorf("action %q is not known", r.Action)
	}
	peers, way := r.From, "from"
	if d == networkingv1.PolicyTypeEgress {
		peers, way = r.To, "to"
	}
	var ports []portSpan
	for _, p := range r.Protocols {
		ports = append(ports, p.span())
	}
	var who []string
	for _, p := range peers {
		who = append(who, p.text())
		if (p.Nodes != nil || len(p.DomainNames) > 0) && c.unsure == "" {
			c.unsure = "it names nodes or domains, whose addresses are not in it"
		}
	}
	c.text = fmt.Sprintf("%s %s %s on %s", word(d), way, strings.Join(who, " or "), spansText(ports))
	c.matches = func(s *PodEnd, f Flow) Answer {
		return anyOf(peers, func(p clusterPeer) Answer { return p.matches(f.Peer) }).and(spans(ports, destination(s, f), f))
	}
	return c, nil
}

func (p clusterProtocol) span() portSpan {
	var proto corev1.Protocol
	var port *clusterPort
	switch {
	case p.TCP != nil:
		proto, port = corev1.ProtocolTCP, p.TCP
	case p.UDP != nil:
		proto, port = corev1.ProtocolUDP, p.UDP
	case p.SCTP != nil:
		proto, port = corev1.ProtocolSCTP, p.SCTP
	default:
		return portSpan{name: p.DestinationNamedPort}
	}
	out := portSpan{protocol: proto}
	if port.DestinationPort != nil {
		out.first, out.last = uint16(port.DestinationPort.Number), uint16(port.DestinationPort.Number)
		if r := port.DestinationPort.Range; r != nil {
			out.first, out.last = uint16(r.Start), uint16(r.End)
		}
	}
	return out
}

// matches: a peer names pods, or what lies outside, never both.
func (p clusterPeer) matches(e Endpoint) Answer {
	switch {
	case p.Namespaces != nil:
		return answer(e.Pod != nil && Selects(p.Namespaces, e.Pod.NamespaceLabels))
	case p.Pods != nil:
		return answer(e.Pod != nil && Selects(&p.Pods.NamespaceSelector, e.Pod.NamespaceLabels) && Selects(&p.Pods.PodSelector, e.Pod.Labels))
	case len(p.Networks) > 0:
		return anyOf(p.Networks, func(cidr string) Answer { return within(cidr, e.IP) })
	case p.Nodes != nil, len(p.DomainNames) > 0:
		if e.Pod != nil && p.Nodes == nil {
			return No
		}
		return Unsure
	}
	return Unsure
}

func (p clusterPeer) text() string {
	switch {
	case p.Namespaces != nil:
		return "any pod in " + namespacesText(p.Namespaces)
	case p.Pods != nil:
		return podsText(&p.Pods.PodSelector) + " in " + namespacesText(&p.Pods.NamespaceSelector)
	case len(p.Networks) > 0:
		return strings.Join(p.Networks, " or ")
	case p.Nodes != nil:
		return "nodes with " + selectorText(p.Nodes)
	case len(p.DomainNames) > 0:
		return strings.Join(p.DomainNames, " or ")
	}
	return "a peer of an unknown kind"
}

// within is Unsure for what is no prefix: it must not hide anything.
func within(cidr string, ip netip.Addr) Answer {
	in, err := netip.ParsePrefix(cidr)
	if err != nil {
		one, err := netip.ParseAddr(cidr)
		if err != nil {
			return Unsure
		}
		in = netip.PrefixFrom(one, one.BitLen())
	}
	return answer(ip.IsValid() && in.Contains(ip.Unmap()))
}
