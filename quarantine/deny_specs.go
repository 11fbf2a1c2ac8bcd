package quarantine

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/evidence"
)

type object = map[string]any

func list[T any](all ...T) []any {
	out := make([]any, len(all))
	for i, x := range all {
		out[i] = x
	}
	return out
}

// denyCilium: a deny of Cilium beats every allow, so that what --allow leaves open is cut
// out of the deny itself, by address; and allowed by a rule of its own. The local node may
// still come in, for the kubelet's probes (docs.cilium.io, "Deny policies").
func denyCilium(s Scene, _ evidence.Target, w Want) (map[string]any, error) {
	for _, a := range w.exceptions(s) {
		if inside(s, a.Prefix) {
			return nil, fmt.Errorf("%s is within the cluster, and an address cannot be cut out of what Cilium denies there: %w", a.Prefix, ErrUnsuited)
		}
	}
	everyPod := object{"matchExpressions": list(object{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"})}
	spec := object{
		"endpointSelector": object{"matchLabels": object{evidence.LabelQuarantine: w.Case}},
		"description":      "quarantine of case " + w.Case,
	}
	in := list(object{"fromEndpoints": list(everyPod)}, object{"fromEntities": list("remote-node", "init", "unmanaged", "health")})
	out := list(object{"toEndpoints": list(everyPod)}, object{"toEntities": list("host", "remote-node", "init", "unmanaged", "health")})
	if len(w.Allow) == 0 {
		spec["ingressDeny"] = append(in, object{"fromEntities": list("world")})
		spec["egressDeny"] = list(object{"toEntities": list("all")})
		return spec, nil
	}
	var cidrs []any
	for _, family := range []string{"0.0.0.0/0", "::/0"} {
		block := object{"cidr": family}
		var except []any
		for _, a := range w.Allow {
			if a.Prefix.Addr().Is4() == strings.Contains(family, ".") {
				except = append(except, a.Prefix.String())
			}
		}
		if except != nil {
			block["except"] = except
		}
		cidrs = append(cidrs, block)
	}
	in, out = append(in, object{"fromCIDRSet": cidrs}), append(out, object{"toCIDRSet": cidrs})
	var back, forth []any
	for _, a := range w.Allow {
		one := list(a.Prefix.String())
		for _, other := range otherPorts(a) {
			out = append(out, object{"toCIDR": one, "toPorts": list(object{"ports": other})})
		}
		allowed := object{"toCIDR": one}
		if ports := allowedPorts(a); ports != nil {
			allowed["toPorts"] = list(object{"ports": ports})
		}
		forth = append(forth, allowed)
		if a.Port == 0 {
			back = append(back, object{"fromCIDR": one})
		} else {
			in = append(in, object{"fromCIDR": one})
		}
	}
	spec["ingressDeny"], spec["egressDeny"], spec["egress"] = in, out, forth
	if back != nil {
		spec["ingress"] = back
	}
	return spec, nil
}

func protocols(a evidence.Allow) []string {
	if a.Proto != "" {
		return []string{strings.ToUpper(a.Proto)}
	}
	return []string{"TCP", "UDP"}
}

// ciliumPort is text, as Cilium has it.
func ciliumPort(first, last int, proto string) object {
	p := object{"port": strconv.Itoa(first), "protocol": proto}
	if last > first {
		p["endPort"] = int64(last)
	}
	return p
}

func allowedPorts(a evidence.Allow) []any {
	if a.Port == 0 && a.Proto == "" {
		return nil
	}
	var out []any
	for _, p := range protocols(a) {
		out = append(out, ciliumPort(int(a.Port), 0, p))
	}
	return out
}

// otherPorts are all ports of an exception's address but its own, by protocol.
func otherPorts(a evidence.Allow) [][]any {
	if a.Port == 0 && a.Proto == "" {
		return nil
	}
	var out [][]any
	for _, p := range []string{"TCP", "UDP", "SCTP"} {
		switch {
		case !slices.Contains(protocols(a), p):
			out = append(out, list(ciliumPort(0, 0, p)))
		case a.Port > 1 && a.Port < math.MaxUint16:
			out = append(out, list(ciliumPort(1, int(a.Port)-1, p)), list(ciliumPort(int(a.Port)+1, math.MaxUint16, p)))
		case a.Port == 1:
			out = append(out, list(ciliumPort(2, math.MaxUint16, p)))
		case a.Port == math.MaxUint16:
			out = append(out, list(ciliumPort(1, math.MaxUint16-1, p)))
		}
	}
	return out
}

// denyCalico is a policy before all others of the tier "default"; an earlier tier is asked
// before it, and the forecast names what allows there. The node always reaches its own
// pods with Calico (docs.tigera.io, "Host endpoints").
func denyCalico(s Scene, t evidence.Target, w Want) (map[string]any, error) {
	order := float64(-1)
	for _, f := range s.Foreign {
		var other struct {
			Order *float64 `json:"order"`
		}
		if strings.HasSuffix(strings.Split(f.APIVersion, "/")[0], "projectcalico.org") && f.Kind != "Tier" && json.Unmarshal(f.Spec, &other) == nil && other.Order != nil {
			order = min(order, math.Floor(*other.Order)-1)
		}
	}
	var in, out []any
	for _, a := range w.Allow {
		nets := list(a.Prefix.String())
		for _, p := range protocols(a) {
			to := object{"nets": nets}
			if a.Port != 0 {
				to["ports"] = list(int64(a.Port))
			}
			out = append(out, object{"action": "Allow", "protocol": p, "destination": to})
		}
		if a.Port == 0 {
			in = append(in, object{"action": "Allow", "source": object{"nets": nets}})
		}
	}
	return object{
		"tier": "default", "order": order, "types": list("Ingress", "Egress"),
		"selector":          evidence.LabelQuarantine + " == '" + w.Case + "'",
		"namespaceSelector": "projectcalico.org/name == '" + t.Namespace + "'",
		"ingress":           append(in, object{"action": "Deny"}),
		"egress":            append(out, object{"action": "Deny"}),
	}, nil
}

// denyCluster is in the tier Admin, which is asked before every NetworkPolicy, at a
// priority that nobody has and that is before all that somebody has, where there is one.
// Its ingress names only pods: what comes from outside the cluster is left to the
// NetworkPolicy.
func denyCluster(s Scene, t evidence.Target, w Want) (map[string]any, error) {
	var out []any
	for _, a := range w.Allow {
		rule := object{"name": "exception", "action": "Accept", "to": list(object{"networks": list(a.Prefix.String())})}
		var on []any
		for _, p := range protocols(a) {
			if a.Port != 0 {
				on = append(on, object{strings.ToLower(p): object{"destinationPort": object{"number": int64(a.Port)}}})
			} else if a.Proto != "" {
				on = append(on, object{strings.ToLower(p): object{}})
			}
		}
		if on != nil {
			rule["protocols"] = on
		}
		out = append(out, rule)
	}
	everyPod := object{"namespaces": object{}}
	return object{
		"tier": "Admin", "priority": int64(freePriority(s)),
		"subject": object{"pods": object{
			"namespaceSelector": object{"matchLabels": object{corev1.LabelMetadataName: t.Namespace}},
			"podSelector":       object{"matchLabels": object{evidence.LabelQuarantine: w.Case}},
		}},
		"ingress": list(object{"name": "quarantine", "action": "Deny", "from": list(everyPod)}),
		"egress": append(out, object{"name": "quarantine-pods", "action": "Deny", "to": list(everyPod)},
			object{"name": "quarantine", "action": "Deny", "to": list(object{"networks": list("0.0.0.0/0", "::/0")})}),
	}, nil
}

// freePriority is before every other of the tier, else the first that nobody has: of two
// with the same priority it is not defined which is asked first.
func freePriority(s Scene) int {
	taken := map[int]bool{}
	first := 1001
	for _, f := range s.Foreign {
		var other struct {
			Tier     string `json:"tier"`
			Priority int    `json:"priority"`
		}
		if f.Kind == "ClusterNetworkPolicy" && json.Unmarshal(f.Spec, &other) == nil && other.Tier == "Admin" {
			taken[other.Priority], first = true, min(first, other.Priority)
		}
	}
	switch {
	case len(taken) == 0:
		return 1 // room for who must be before even this
	case first > 0:
		return first - 1
	}
	for n := range 1000 {
		if !taken[n] {
			return n
		}
	}
	return 1000
}
