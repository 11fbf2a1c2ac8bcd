package reach

import (
	"fmt"
	"sort"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// peersText says in words whom a rule names.
func peersText(peers []networkingv1.NetworkPolicyPeer) string {
	if len(peers) == 0 {
		return "any peer"
	}
	var out []string
	for _, p := range peers {
		switch {
		case p.IPBlock != nil && len(p.IPBlock.Except) > 0:
			out = append(out, fmt.Sprintf("%s except %s", p.IPBlock.CIDR, strings.Join(p.IPBlock.Except, ", ")))
		case p.IPBlock != nil:
			out = append(out, p.IPBlock.CIDR)
		case p.NamespaceSelector != nil && p.PodSelector != nil:
			out = append(out, podsText(p.PodSelector)+" in "+namespacesText(p.NamespaceSelector))
		case p.NamespaceSelector != nil:
			out = append(out, "any pod in "+namespacesText(p.NamespaceSelector))
		case p.PodSelector != nil:
			out = append(out, podsText(p.PodSelector)+" of the namespace")
		}
	}
	if len(out) == 0 {
		return "no peer"
	}
	return strings.Join(out, " or ")
}

func podsText(s *metav1.LabelSelector) string {
	if empty(s) {
		return "any pod"
	}
	return "pods with " + selectorText(s)
}

func namespacesText(s *metav1.LabelSelector) string {
	if empty(s) {
		return "any namespace"
	}
	return "namespaces with " + selectorText(s)
}

func empty(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// selectorText is the selector as kubectl -l takes it.
func selectorText(s *metav1.LabelSelector) string {
	var out []string
	for k, v := range s.MatchLabels {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	for _, e := range s.MatchExpressions {
		switch e.Operator {
		case metav1.LabelSelectorOpExists:
			out = append(out, e.Key)
		case metav1.LabelSelectorOpDoesNotExist:
			out = append(out, "!"+e.Key)
		case metav1.LabelSelectorOpIn:
			out = append(out, e.Key+" in ("+strings.Join(e.Values, ",")+")")
		case metav1.LabelSelectorOpNotIn:
			out = append(out, e.Key+" notin ("+strings.Join(e.Values, ",")+")")
		default:
			out = append(out, fmt.Sprintf("%s %s (cannot be read)", e.Key, e.Operator))
		}
	}
	return strings.Join(out, ",")
}

func portsText(ports []networkingv1.NetworkPolicyPort) string {
	if len(ports) == 0 {
		return "any port"
	}
	var out []string
	for _, p := range ports {
		text := "TCP"
		if p.Protocol != nil {
			text = string(*p.Protocol)
		}
		switch {
		case p.Port == nil:
			text = "any " + text + " port"
		case p.EndPort != nil:
			text += fmt.Sprintf("/%s-%d", p.Port.String(), *p.EndPort)
		default:
			text += "/" + p.Port.String()
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
