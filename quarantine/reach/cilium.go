package reach

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// ciliumSpec is one rule of a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy
// (cilium.io/v2, docs.cilium.io "Layer 3 policy", "Deny policies").
type ciliumSpec struct {
	EndpointSelector  *ciliumSelector  `json:"endpointSelector"`
	NodeSelector      *ciliumSelector  `json:"nodeSelector"`
	Ingress           []ciliumRule     `json:"ingress"`
	IngressDeny       []ciliumRule     `json:"ingressDeny"`
	Egress            []ciliumRule     `json:"egress"`
	EgressDeny        []ciliumRule     `json:"egressDeny"`
	EnableDefaultDeny map[string]*bool `json:"enableDefaultDeny"`
	Labels            json.RawMessage  `json:"labels"`
	Description       string           `json:"description"`
	Log               json.RawMessage  `json:"log"`
}

// ciliumRule holds the fields of both directions; peers are nil where the rule names none,
// and then every peer is meant if it names ports, and nobody if it names nothing.
type ciliumRule struct {
	FromEndpoints  []ciliumSelector  `json:"fromEndpoints"`
	ToEndpoints    []ciliumSelector  `json:"toEndpoints"`
	FromEntities   []string          `json:"fromEntities"`
	ToEntities     []string          `json:"toEntities"`
	FromCIDR       []string          `json:"fromCIDR"`
	ToCIDR         []string          `json:"toCIDR"`
	FromCIDRSet    []ciliumCIDR      `json:"fromCIDRSet"`
	ToCIDRSet      []ciliumCIDR      `json:"toCIDRSet"`
	FromRequires   []json.RawMessage `json:"fromRequires"`
	ToRequires     []json.RawMessage `json:"toRequires"`
	FromGroups     []json.RawMessage `json:"fromGroups"`
	ToGroups       []json.RawMessage `json:"toGroups"`
	FromNodes      []json.RawMessage `json:"fromNodes"`
	ToNodes        []json.RawMessage `json:"toNodes"`
	ToServices     []json.RawMessage `json:"toServices"`
	ToFQDNs        []json.RawMessage `json:"toFQDNs"`
	ICMPs          []json.RawMessage `json:"icmps"`
	Authentication json.RawMessage   `json:"authentication"`
	ToPorts        []ciliumPorts     `json:"toPorts"`
}

type ciliumCIDR struct {
	CIDR     string          `json:"cidr"`
	GroupRef string          `json:"cidrGroupRef"`
	Group    json.RawMessage `json:"cidrGroupSelector"`
	Except   []string        `json:"except"`
}

type ciliumPorts struct {
	Ports []struct {
		Port     string `json:"port"`
		EndPort  int32  `json:"endPort"`
		Protocol string `json:"protocol"`
	} `json:"ports"`
	// What narrows by the words of a protocol narrows an allow only: it still is one.
	Rules          json.RawMessage `json:"rules"`
	ServerNames    json.RawMessage `json:"serverNames"`
	Listener       json.RawMessage `json:"listener"`
	TerminatingTLS json.RawMessage `json:"terminatingTLS"`
	OriginatingTLS json.RawMessage `json:"originatingTLS"`
}

// cilium reads spec and specs.
func (f Foreign) cilium() ([]law, error) {
	var all []ciliumSpec
	if len(f.Specs) > 0 {
		if err := strictly(f.Specs, &all); err != nil {
			return nil, err
		}
	}
	if len(f.Spec) > 0 {
		var one ciliumSpec
		if err := strictly(f.Spec, &one); err != nil {
			return nil, err
		}
		all = append([]ciliumSpec{one}, all...)
	}
	var out []law
	for i, s := range all {
		if s.EndpointSelector == nil && s.NodeSelector != nil {
			continue // for nodes, not for pods
		}
		if s.EndpointSelector == nil {
			return nil, errors.New("it has a rule without endpointSelector")
		}
		l, err := f.ciliumLaw(s)
		if err != nil {
			return nil, err
		}
		if len(all) > 1 {
			l.name += fmt.Sprintf(" (rule %d)", i)
		}
		out = append(out, l)
	}
	return out, nil
}

func (f Foreign) ciliumLaw(s ciliumSpec) (law, error) {
	l := law{name: f.Title(), stage: pluginStage, isolates: map[networkingv1.PolicyType]bool{}, selects: func(p PodEnd) Answer {
		return answer(f.Namespace == "" || f.Namespace == p.Namespace).and(s.EndpointSelector.matches(&p))
	}}
	for _, d := range directions() {
		allows, denies := s.Ingress, s.IngressDeny
		if d == networkingv1.PolicyTypeEgress {
			allows, denies = s.Egress, s.EgressDeny
		}
		// It is rules that isolate: a list that is there and empty does not, whatever
		// enableDefaultDeny says (seen with v1.19.5).
		set := s.EnableDefaultDeny[word(d)]
		l.isolates[d] = len(allows)+len(denies) > 0 && (set == nil || *set)
		for n, r := range allows {
			if err := f.ciliumClause(&l, d, allow, fmt.Sprintf("%s[%d]", word(d), n), r); err != nil {
				return l, err
			}
		}
		for n, r := range denies {
			if err := f.ciliumClause(&l, d, deny, fmt.Sprintf("%sDeny[%d]", word(d), n), r); err != nil {
				return l, err
			}
		}
	}
	return l, nil
}

func (f Foreign) ciliumClause(l *law, d networkingv1.PolicyType, a action, rule string, r ciliumRule) error {
	ports, err := r.spans()
	if err != nil {
		return err
	}
	peers := r.peers(f.Namespace)
	if peers.none && (len(r.ICMPs) == 0 && len(r.ToPorts) == 0) {
		return nil // an empty rule selects nobody: it only isolates
	}
	way := "from"
	if d == networkingv1.PolicyTypeEgress {
		way = "to"
	}
	what := spansText(ports)
	if len(r.ICMPs) > 0 && len(r.ToPorts) == 0 {
		what = "ICMP"
	}
	c := clause{direction: d, action: a, rule: rule, unsure: peers.unsure, text: fmt.Sprintf("%s %s %s on %s", word(d), way, peers.text(), what)}
	c.everything = f.Closes && a == deny || peers.all() && len(ports) == 0 && len(r.ICMPs) == 0 && c.unsure == ""
	c.matches = func(s *PodEnd, fl Flow) Answer {
		if what == "ICMP" {
			return No
		}
		return peers.matches(fl.Peer).and(ciliumSpans(ports, s, fl))
	}
	l.clauses = append(l.clauses, c)
	return nil
}

// ciliumSpans: on the way out a name is one number for the whole cluster, see networkLaw.
func ciliumSpans(ports []portSpan, s *PodEnd, f Flow) Answer {
	if len(ports) == 0 {
		return Yes
	}
	return anyOf(ports, func(p portSpan) Answer {
		if p.name != "" && f.Direction == networkingv1.PolicyTypeEgress && (p.protocol == "" || p.protocol == f.Protocol) {
			return Unsure
		}
		return answer(p.matches(destination(s, f), f))
	})
}

// spans are the ports; "0" and none are every port, ANY every protocol.
func (r ciliumRule) spans() ([]portSpan, error) {
	var out []portSpan
	for _, group := range r.ToPorts {
		if len(group.Ports) == 0 { // a rule for a protocol's words alone
			out = append(out, portSpan{})
		}
		for _, p := range group.Ports {
			proto := corev1.Protocol(strings.ToUpper(p.Protocol))
			switch proto {
			case "ANY":
				proto = ""
			case "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
			default:
				return nil, fmt.Errorf("protocol %q is not known", p.Protocol)
			}
			if p.Port == "" {
				p.Port = "0"
			}
			s, err := span(p.Port, p.EndPort, proto)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}
