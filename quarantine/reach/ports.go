package reach

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// portSpan is a rule's ports in the form that all kinds come to.
type portSpan struct {
	protocol    corev1.Protocol // empty: each that has ports
	first, last uint16          // both 0: every port
	name        string          // a port of the pod that is connected to
}

func (p portSpan) matches(dest *PodEnd, f Flow) bool {
	if p.protocol != "" && p.protocol != f.Protocol {
		return false
	}
	if p.name == "" {
		return p.first == 0 && p.last == 0 || p.first <= f.Port && f.Port <= p.last
	}
	if dest == nil {
		return false
	}
	for _, c := range dest.Ports {
		proto := c.Protocol
		if proto == "" {
			proto = corev1.ProtocolTCP
		}
		if c.Name == p.name && proto == f.Protocol && c.ContainerPort == int32(f.Port) {
			return true
		}
	}
	return false
}

func (p portSpan) text() string {
	proto := string(p.protocol)
	var port string
	switch {
	case p.name != "":
		port = p.name
	case p.first == 0 && p.last == 0:
		if proto == "" {
			return "any port"
		}
		return "any " + proto + " port"
	case p.first == p.last:
		port = strconv.Itoa(int(p.first))
	default:
		port = fmt.Sprintf("%d-%d", p.first, p.last)
	}
	if proto == "" {
		return "port " + port
	}
	return proto + "/" + port
}

func spansText(all []portSpan) string {
	if len(all) == 0 {
		return "any port"
	}
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = p.text()
	}
	return strings.Join(out, ", ")
}

// spans matches when one of them does, or when there is none.
func spans(all []portSpan, dest *PodEnd, f Flow) Answer {
	if len(all) == 0 {
		return Yes
	}
	return anyOf(all, func(p portSpan) Answer { return answer(p.matches(dest, f)) })
}

// span reads numbers, "a:b" as Calico writes a range, and names.
func span(text string, end int32, proto corev1.Protocol) (portSpan, error) {
	p := portSpan{protocol: proto}
	from, to, ranged := strings.Cut(text, ":")
	if !ranged && strings.Trim(text, "0123456789") != "" {
		p.name = text
		return p, nil
	}
	n, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return p, fmt.Errorf("port %q: %w", text, err)
	}
	p.first, p.last = uint16(n), uint16(n)
	if ranged {
		m, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return p, fmt.Errorf("port %q: %w", text, err)
		}
		p.last = uint16(m)
	}
	if end > 0 && end < 1<<16 {
		p.last = uint16(end)
	}
	return p, nil
}
