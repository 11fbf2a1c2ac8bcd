package quarantine

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// caseForm keeps a case usable as a label's value and in names of objects.
var caseForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

func checkCase(id string) error {
	if !caseForm.MatchString(id) {
		return fmt.Errorf("case %q: want 1 to 40 of a-z, 0-9 and -, not - at an end", id)
	}
	return nil
}

// wants reports whether a layer was asked for.
func (w Want) wants(layer string) bool {
	return len(w.Layers) == 0 || slices.Contains(w.Layers, layer)
}

// FutureLabels are the labels that the target will carry once the layers that are wanted
// stand.
func FutureLabels(s Scene, w Want) map[string]string {
	out := maps.Clone(s.Pod.Labels)
	if out == nil {
		out = map[string]string{}
	}
	if w.wants(LayerDetach) && !s.mirror() {
		for _, k := range stripped(s) {
			delete(out, k)
		}
	}
	if w.wants(LayerLabel) {
		out[evidence.LabelQuarantine] = w.Case
	}
	return out
}

// stripped are the keys that detach takes away, sorted: all but ours, and but those that
// tell only where the pod runs, as long as no selector known here names them. Others than
// the known selectors may select on any label, so that what is not known to be harmless goes.
func stripped(s Scene) []string {
	named := namedKeys(s)
	var out []string
	for k := range s.Pod.Labels {
		mine := strings.HasPrefix(k, evidence.Domain+"/")
		place := k == corev1.LabelTopologyZone || k == corev1.LabelTopologyRegion || k == corev1.LabelHostname
		if mine || (place && !named[k]) {
			continue
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// namedKeys are the label keys that some selector of the scene names.
func namedKeys(s Scene) map[string]bool {
	out := map[string]bool{}
	add := func(sel *metav1.LabelSelector) {
		if sel == nil {
			return
		}
		for k := range sel.MatchLabels {
			out[k] = true
		}
		for _, e := range sel.MatchExpressions {
			out[e.Key] = true
		}
	}
	for i := range s.Policies {
		add(&s.Policies[i].Spec.PodSelector)
	}
	for i := range s.Services {
		for k := range s.Services[i].Spec.Selector {
			out[k] = true
		}
	}
	for i := range s.Budgets {
		add(s.Budgets[i].Spec.Selector)
	}
	for _, o := range s.Owners {
		if sel, err := metav1.ParseToLabelSelector(o.Selector); err == nil && o.Selector != "" {
			add(sel)
		}
	}
	return out
}

// controller is the pod's managing owner, as the pod itself names it.
func (s Scene) controller() *metav1.OwnerReference { return metav1.GetControllerOf(&s.Pod) }

// mirror reports a static pod's mirror: the kubelet owns it, the API only shows it.
func (s Scene) mirror() bool {
	_, ok := s.Pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

func (s Scene) windows() bool {
	return (s.Pod.Spec.OS != nil && s.Pod.Spec.OS.Name == corev1.Windows) || (s.Node != nil && s.Node.OS == string(corev1.Windows))
}

func (s Scene) terminal() bool {
	return s.Pod.Status.Phase == corev1.PodSucceeded || s.Pod.Status.Phase == corev1.PodFailed
}

// keepOwner tells whether detach leaves the ownerReference, and why.
func keepOwner(s Scene, w Want) (bool, string) {
	ref := s.controller()
	switch {
	case ref == nil:
		return true, ""
	case w.KeepOwner:
		return true, "asked for"
	case s.CNI.Name == "aws-vpc-cni":
		return true, "on AWS VPC CNI policy follows the owner"
	}
	if _, ok := known(ref.APIVersion, ref.Kind); !ok {
		return true, "its controller is not known to adopt it again"
	}
	return false, ""
}

// earlyLabels are labels that the target has already and no other pod can have at the
// same time: a StatefulSet's pod name. A policy on them bites at once.
func earlyLabels(s Scene) map[string]string {
	ref, name := s.controller(), s.Pod.Labels["statefulset.kubernetes.io/pod-name"]
	if ref == nil || ref.Kind != "StatefulSet" || name != s.Target.Pod {
		return nil // only there a successor cannot come while the pod stands
	}
	out := map[string]string{"statefulset.kubernetes.io/pod-name": name}
	if s.CNI.Name == "cilium" {
		if out = identityLabels(s.Pod.Labels); out == nil {
			return nil
		}
	}
	for _, o := range s.Siblings {
		if labels.SelectorFromSet(out).Matches(labels.Set(o.Labels)) {
			return nil
		}
	}
	return out
}

// identityLabels are the labels that Cilium selects on by default (docs.cilium.io,
// "Limiting identity-relevant labels"): a policy on another one never matches, the name
// that a StatefulSet gives its pods included. Nil: there is none.
func identityLabels(all map[string]string) map[string]string {
	var out map[string]string
	for k, v := range all {
		domain, _, _ := strings.Cut(k, "/")
		if strings.HasSuffix(domain, "kubernetes.io") || strings.HasSuffix(domain, "k8s.io") ||
			slices.Contains([]string{"controller-revision-hash", "pod-template-hash", "pod-template-generation"}, k) {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out
}

// ours reports a policy that this case made.
func ours(p *networkingv1.NetworkPolicy, caseID string) bool { return made(p.Name, p.Labels, caseID) }

func made(name string, marks map[string]string, caseID string) bool {
	return caseID != "" && marks[evidence.LabelCase] == caseID && strings.HasPrefix(name, policyPrefix)
}

// policies are all that could decide, but for what the case itself made: those stood
// before it, also where the scene was surveyed again later.
func (s Scene) policies(caseID string) reach.Policies {
	return reach.Policies{Cilium: s.CNI.Name == "cilium" && s.CNI.Enforces == Enforces,
		Network: slices.DeleteFunc(slices.Clone(s.Policies), func(p networkingv1.NetworkPolicy) bool { return ours(&p, caseID) }),
		Foreign: slices.DeleteFunc(slices.Clone(s.Foreign), func(f reach.Foreign) bool { return made(f.Name, f.Labels, caseID) }),
	}
}

// end is the target as policies see it.
func (s Scene) end() reach.PodEnd {
	return reach.PodEnd{Namespace: s.Target.Namespace, NamespaceLabels: s.Namespace.Labels, Labels: s.Pod.Labels,
		Ports: ports(&s.Pod.Spec), ServiceAccount: s.Pod.Spec.ServiceAccountName}
}

// residuals are the rules of others that let something through a layer of policy when the
// target has these labels. A deny beats them, but for those that are asked before it; one
// that the plugin is not known to act on beats nothing.
func (s Scene) residuals(layer string, w Want, future map[string]string) []reach.Residual {
	p := s.policies(w.Case)
	if layer == LayerDeny {
		for _, d := range offered(s) {
			if !d.actedOn(s.CNI) {
				continue
			}
			spec, err := d.spec(s, s.Target, Want{Case: w.Case}) // exceptions are no residual: they were asked for
			if err == nil {
				o := evidence.Object{APIVersion: d.GroupVersion().String(), Kind: d.kind, Name: d.name(s.Target, w.Case)}
				if d.namespaced {
					o.Namespace = s.Target.Namespace
				}
				p.Foreign = append(p.Foreign, reach.Foreign{Object: o, Spec: encode(spec), Closes: true})
			}
		}
	}
	return p.Residuals(s.end(), future)
}
