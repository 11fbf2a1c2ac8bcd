package reach

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ciliumSelector is a label selector whose keys say where a label comes from: k8s:app,
// any:app, reserved:host, or app, which is any:app.
type ciliumSelector metav1.LabelSelector

// Keys that Cilium makes of a pod's surroundings.
const (
	ciliumNamespace       = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabels = "io.cilium.k8s.namespace.labels."
	ciliumAccount         = "io.cilium.k8s.policy.serviceaccount"
)

func ciliumKey(key string) (source, name string) {
	source, name, ok := strings.Cut(key, ":")
	if !ok {
		return "any", key
	}
	return source, name
}

// label is a pod's value of a key. Unsure: Cilium may know another than the API shows.
func ciliumLabel(p *PodEnd, key string) (value string, there, known Answer) {
	source, name := ciliumKey(key)
	switch source {
	case "k8s", "any":
	case "reserved":
		return "", No, Yes // that is no pod
	default:
		return "", Unsure, Unsure
	}
	switch {
	case name == ciliumNamespace:
		return p.Namespace, Yes, Yes
	case strings.HasPrefix(name, ciliumNamespaceLabels):
		v, ok := p.NamespaceLabels[strings.TrimPrefix(name, ciliumNamespaceLabels)]
		return v, answer(ok), Yes
	case name == ciliumAccount && p.ServiceAccount != "":
		return p.ServiceAccount, Yes, Yes
	case strings.HasPrefix(name, "io.cilium.") || !identityRelevant(name):
		v := p.Labels[name]
		return v, Unsure, Unsure
	}
	v, ok := p.Labels[name]
	return v, answer(ok), Yes
}

// identityRelevant: the labels that Cilium knows a pod by, unless told otherwise
// (docs.cilium.io, "Limiting identity-relevant labels").
func identityRelevant(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	if domain == "app.kubernetes.io" {
		return true
	}
	return !strings.HasSuffix(domain, "kubernetes.io") && !strings.HasSuffix(domain, "k8s.io") &&
		!slices.Contains([]string{"controller-revision-hash", "pod-template-hash", "pod-template-generation", "controller-uid"}, name)
}

func (s ciliumSelector) matches(p *PodEnd) Answer {
	out := Yes
	for k, v := range s.MatchLabels {
		got, there, known := ciliumLabel(p, k)
		out = out.and(there.and(known.or(there)).and(same(known, got == v)))
	}
	for _, e := range s.MatchExpressions {
		got, there, known := ciliumLabel(p, e.Key)
		listed := there.and(same(known, slices.Contains(e.Values, got)))
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			out = out.and(listed)
		case metav1.LabelSelectorOpNotIn:
			out = out.and(listed.not())
		case metav1.LabelSelectorOpExists:
			out = out.and(there)
		case metav1.LabelSelectorOpDoesNotExist:
			out = out.and(there.not())
		default:
			out = out.and(Unsure)
		}
	}
	return out
}

// same is what a comparison says of a value that is surely known, else nothing sure.
func same(known Answer, equal bool) Answer {
	if known != Yes {
		return Unsure
	}
	return answer(equal)
}

// peer: in a namespaced policy a selector that names no namespace means its own.
func (s ciliumSelector) peer(namespace string, e Endpoint) Answer {
	if e.Pod == nil {
		if s.reserved() || namespace == "" && s.empty() {
			return Unsure
		}
		return No
	}
	if namespace != "" && !s.namesNamespace() && e.Pod.Namespace != namespace {
		return No
	}
	return s.matches(e.Pod)
}

func (s ciliumSelector) keys() []string {
	var out []string
	for k := range s.MatchLabels {
		out = append(out, k)
	}
	for _, e := range s.MatchExpressions {
		out = append(out, e.Key)
	}
	return out
}

func (s ciliumSelector) empty() bool { return len(s.keys()) == 0 }

func (s ciliumSelector) reserved() bool {
	return slices.ContainsFunc(s.keys(), func(k string) bool { return strings.HasPrefix(k, "reserved:") })
}

func (s ciliumSelector) namesNamespace() bool {
	return slices.ContainsFunc(s.keys(), func(k string) bool {
		_, name := ciliumKey(k)
		return name == ciliumNamespace || strings.HasPrefix(name, ciliumNamespaceLabels)
	})
}

func (s ciliumSelector) text() string {
	l := metav1.LabelSelector(s)
	if s.empty() {
		return "any pod"
	}
	return "pods with " + selectorText(&l)
}
