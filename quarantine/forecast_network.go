package quarantine

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// network looks at what the policy will leave open, and at whether it is enforced.
func (f *forecaster) network() {
	if _, why := unsuited(f.s, LayerNetpol); why != "" || !f.w.wants(LayerNetpol) {
		return
	}
	for _, r := range f.s.residuals(LayerNetpol, f.w, FutureLabels(f.s, f.w)) {
		text := fmt.Sprintf("policy %s still lets through: %s (%s); policies only add, so that ours does not take it away", r.Policy, r.Text, r.Rule)
		code := "residual-allow"
		switch {
		case r.Starts:
			code = "policy-starts-to-match"
			text = fmt.Sprintf("policy %s does not select the pod now but will, once its labels are gone, and then lets through: %s (%s)", r.Policy, r.Text, r.Rule)
		case r.Unsure != "":
			code = "residual-undecided"
			text = fmt.Sprintf("policy %s may still let through: %s (%s); %s", r.Policy, r.Text, r.Rule, r.Unsure)
		}
		f.add(evidence.Warning, code, LayerNetpol, r.Policy, text)
	}
	switch f.s.CNI.Enforces {
	case Enforces:
	case Ignores:
		f.add(evidence.Warning, "policy-not-enforced", LayerNetpol, "", f.s.CNI.Name+" does not enforce NetworkPolicy: the policy will stand without effect; this is measured")
	default:
		name := f.s.CNI.Name
		if name == "" {
			name = "the network plugin (not recognised)"
		}
		f.add(evidence.Warning, "enforcement-unknown", LayerNetpol, "", "nothing shows that "+name+" enforces NetworkPolicy here; this is measured")
	}
	if f.s.CNI.Name == "aws-vpc-cni" {
		f.add(evidence.Warning, "aws-policy-by-owner", LayerNetpol, "", "AWS VPC CNI keys policy by the owner's name: replicas on the node share rules, and a pod without owner has none; another layer must hold")
	}
	if early := earlyLabels(f.s); early != nil {
		f.add(evidence.Warning, "early-policy", LayerNetpol, "", fmt.Sprintf("a first policy selects the pod by labels that only it has now (%s), to bite at once: while it stands, a further pod with them, as a successor named %s would be, is cut off too", labels.Set(early), f.s.Target.Pod))
	} else if f.s.CNI.Name == "cilium" {
		f.add(evidence.Note, "label-is-slow", LayerNetpol, "", "Cilium took 6 to 35 s to act on a new label where that was measured; until then only the cut holds")
	}
}

// probes looks at the kubelet's probes: what keeps the evidence alive, and for how long.
func (f *forecaster) probes() {
	cut := f.w.wants(LayerNetns)
	if _, why := unsuited(f.s, LayerNetns); why != "" {
		cut = false
	}
	net := cut || f.w.wants(LayerNetpol) && !f.s.Pod.Spec.HostNetwork
	if !net {
		return
	}
	peers, holed := len(probePeers(f.s)), map[uint16]bool{}
	for _, h := range Holes(f.s) {
		holed[h.Port] = true
	}
	for _, u := range probes(&f.s.Pod.Spec) {
		what := fmt.Sprintf("%s probe of container %q (%s)", u.Kind, u.Container, u.How)
		if u.Kind == "readiness" {
			if u.How != "exec" && cut && !holed[u.Port] {
				f.add(evidence.Note, "readiness-fails", LayerNetns, u.Container, what+" does not pass the cut: the pod turns NotReady, as it should")
			}
			continue
		}
		if f.out.BudgetSeconds == 0 || u.Budget < f.out.BudgetSeconds {
			f.out.BudgetSeconds = u.Budget
		}
		end := fmt.Sprintf("; once it fails, the kubelet restarts the container within %d s and its memory is gone", u.Budget)
		switch {
		case u.How == "exec":
			f.add(evidence.Warning, "probe-may-need-network", "", u.Container, what+" runs in the container: if it needs the network, it fails once that is cut"+end)
		case u.Elsewhere != "":
			f.add(evidence.Note, "probe-elsewhere", "", u.Container, what+" asks another host than the pod: the cut does not touch it, the target's answer may not matter to it")
		case u.Port == 0:
			f.add(evidence.Warning, "probe-unresolved", "", u.Container, what+" names a port that its container does not declare: no hole can be made for it"+end)
		case cut && peers == 0:
			f.add(evidence.Warning, "probe-without-peer", LayerNetns, u.Container, what+": the node's addresses are not known, and only the worker's own gateway will be let through"+end)
		case cut:
			f.add(evidence.Note, "probe-through-hole", LayerNetns, u.Container, fmt.Sprintf("%s passes through a hole to TCP/%d; if what it checks depends on something outside, it fails all the same%s", what, u.Port, end))
		default:
			f.add(evidence.Note, "probe-through-policy", LayerNetpol, u.Container, what+" comes from the node, which a policy does not stop; if what it checks depends on something outside, it fails all the same"+end)
		}
	}
	if f.out.BudgetSeconds > 0 && f.s.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		f.add(evidence.Warning, "restart-never", "", "", "a container whose probe fails is ended and not started again: restartPolicy is Never")
	}
}

// service looks at who uses the target.
func (f *forecaster) service() {
	if !f.w.wants(LayerDetach) || f.s.mirror() {
		return
	}
	now, future := f.s.Pod.Labels, FutureLabels(f.s, f.w)
	for i := range f.s.Services {
		svc := &f.s.Services[i]
		if !serviceSelects(svc, now) {
			continue
		}
		if serviceSelects(svc, future) {
			f.add(evidence.Warning, "service-keeps-endpoint", LayerDetach, svc.Name, fmt.Sprintf("Service %s still selects the pod: traffic is sent to it and lost", svc.Name))
			continue
		}
		others, text, sev := f.otherEndpoints(svc), "Service %s loses this endpoint; %d others are ready", evidence.Note
		if others == 0 {
			text, sev = "Service %s loses its only ready endpoint: it stops to answer until a replacement is ready", evidence.Warning
			text = fmt.Sprintf(text, svc.Name)
		} else {
			text = fmt.Sprintf(text, svc.Name, others)
		}
		f.add(sev, "service-loses-endpoint", LayerDetach, svc.Name, text)
	}
	f.handMade()
	for i := range f.s.Budgets {
		b := &f.s.Budgets[i]
		if b.Spec.Selector == nil || !reach.Selects(b.Spec.Selector, now) || reach.Selects(b.Spec.Selector, future) {
			continue
		}
		sev, more := evidence.Note, ""
		if b.Status.CurrentHealthy-1 < b.Status.DesiredHealthy {
			sev, more = evidence.Warning, "; without this pod it is under its minimum, and evictions stop until a replacement is ready"
		}
		f.add(sev, "budget-loses-pod", LayerDetach, b.Name, fmt.Sprintf("PodDisruptionBudget %s no longer counts the pod (%d healthy, %d wanted)%s", b.Name, b.Status.CurrentHealthy, b.Status.DesiredHealthy, more))
	}
	for _, c := range allContainers(&f.s.Pod.Spec) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				f.add(evidence.Note, "host-port", LayerDetach, c.Name, fmt.Sprintf("container %q holds port %d of the node: a replacement cannot run on this node meanwhile", c.Name, p.HostPort))
			}
		}
	}
}

// serviceSelects: a Service without selector selects nothing.
func serviceSelects(s *corev1.Service, set map[string]string) bool {
	if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	for k, v := range s.Spec.Selector {
		if got, ok := set[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (f *forecaster) otherEndpoints(svc *corev1.Service) int {
	ready := map[string]bool{}
	for i := range f.s.Slices {
		sl := &f.s.Slices[i]
		if sl.Labels["kubernetes.io/service-name"] != svc.Name {
			continue
		}
		for _, e := range sl.Endpoints {
			mine := e.TargetRef != nil && string(e.TargetRef.UID) == f.s.Target.UID
			if !mine && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				ready[strings.Join(e.Addresses, ",")] = true
			}
		}
	}
	return len(ready)
}

// handMade finds endpoint slices that list the pod's address without a selector
// behind them: relabelling does not take it out of those.
func (f *forecaster) handMade() {
	addrs := map[string]bool{}
	for _, ip := range f.s.Pod.Status.PodIPs {
		addrs[ip.IP] = true
	}
	for i := range f.s.Slices {
		sl := &f.s.Slices[i]
		if sl.Labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io" {
			continue
		}
		for _, e := range sl.Endpoints {
			for _, a := range e.Addresses {
				if addrs[a] {
					f.add(evidence.Warning, "endpoint-by-hand", LayerDetach, sl.Name, fmt.Sprintf("EndpointSlice %s lists the pod's address by hand: it stays in service there", sl.Name))
				}
			}
		}
	}
}
