package quarantine_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/cordon"
)

func TestForecast(t *testing.T) {
	yes := true
	now := metav1.Now()
	for name, c := range map[string]struct {
		owner   string
		pod     func(*corev1.Pod)
		scene   func(*quarantine.Scene, *quarantine.Want)
		codes   []string // all of these, and
		not     []string // none of these
		refused []string
	}{
		"a bare pod":     {codes: []string{"no-owner", "service-loses-endpoint", "probe-through-hole", "node-cordoned"}, not: []string{"replacement-starts", "residual-allow"}},
		"a ReplicaSet":   {owner: "ReplicaSet", codes: []string{"replacement-starts", "replacement-same", "owner-above"}},
		"a StatefulSet":  {owner: "StatefulSet", codes: []string{"ordinal-empty", "early-policy"}},
		"a DaemonSet":    {owner: "DaemonSet", codes: []string{"twin-on-node"}},
		"a Job":          {owner: "Job", codes: []string{"job-runs-another"}},
		"an unknown one": {owner: "Rollout", codes: []string{"unknown-controller", "owner-kept"}},
		"AWS VPC CNI": {owner: "ReplicaSet", scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.CNI.Name = "aws-vpc-cni" },
			codes: []string{"owner-kept", "aws-policy-by-owner"}},
		"an owner that is being deleted": {owner: "ReplicaSet", scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.Owners[0].Deleting = true }, codes: []string{"owner-deleting"}},
		"a second owner": {pod: func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "u"}}
		}, codes: []string{"other-owner"}},
		"a reaper": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Reapers = []string{"Kyverno ClusterCleanupPolicy bare"}
		}, codes: []string{"reaper"}},
		"host network": {pod: func(p *corev1.Pod) { p.Spec.HostNetwork = true }, codes: []string{"host-network"},
			not: []string{"residual-allow", "probe-through-hole"}, refused: []string{"netns", "netpol"}},
		"a static pod": {pod: func(p *corev1.Pod) { p.Annotations[corev1.MirrorPodAnnotationKey] = "x" }, codes: []string{"static-pod"},
			not: []string{"service-loses-endpoint"}, refused: []string{"netns", "detach", "protect"}},
		"Windows": {pod: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, codes: []string{"windows"}, refused: []string{"netns"}},
		"a pod that has ended": {pod: func(p *corev1.Pod) {
			p.Status.Phase, p.Status.ContainerStatuses = corev1.PodFailed, nil
		}, codes: []string{"target-terminal"}, refused: []string{"netns"}},
		"a pending pod": {pod: func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
		}, codes: []string{"target-pending", "container-not-running"}, refused: []string{"netns"}},
		"a pod that is being deleted": {pod: func(p *corev1.Pod) {
			p.DeletionTimestamp, p.Finalizers = &now, []string{"x/y"}
		}, codes: []string{"target-deleting"}},
		"a sidecar that crashed": {pod: func(p *corev1.Pod) {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: "side", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}})
		}, codes: []string{"container-not-running"}},
		"another case holds it": {scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.Quarantine = &quarantine.Held{Case: "c-9"} }, codes: []string{"held-by-other-case"}},
		"the same case":         {scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.Quarantine = &quarantine.Held{Case: "c-1"} }, codes: []string{"held-by-this-case"}},
		"a sibling in the case": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Siblings = append(s.Siblings, quarantine.Sibling{Name: "web-1", Quarantine: "c-1"})
		}, codes: []string{"case-has-sibling"}},
		"an allow-all policy": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Policies = []networkingv1.NetworkPolicy{policy(t, "podSelector: {}\npolicyTypes: [Egress]\negress: [{}]\n")}
		}, codes: []string{"residual-allow"}},
		"a policy that will match": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Policies = []networkingv1.NetworkPolicy{policy(t, "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}\npolicyTypes: [Egress]\negress: [{}]\n")}
		}, codes: []string{"policy-starts-to-match"}},
		"the same policy, labels kept": {scene: func(s *quarantine.Scene, w *quarantine.Want) {
			s.Policies = []networkingv1.NetworkPolicy{policy(t, "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}\npolicyTypes: [Egress]\negress: [{}]\n")}
			w.Layers = []string{"label", "netpol"}
		}, not: []string{"policy-starts-to-match", "residual-allow", "service-loses-endpoint", "node-cordoned"}},
		"flannel": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.CNI = quarantine.CNI{Name: "flannel", Enforces: quarantine.Ignores}
		}, codes: []string{"policy-not-enforced"}},
		"an unknown CNI": {scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.CNI = quarantine.CNI{Enforces: quarantine.Unknown} }, codes: []string{"enforcement-unknown"}},
		"Cilium": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.CNI = quarantine.CNI{Name: "cilium", Enforces: quarantine.Enforces}
		}, codes: []string{"label-is-slow"}, not: []string{"enforcement-unknown"}},
		"--allow": {scene: func(_ *quarantine.Scene, w *quarantine.Want) {
			w.Allow = []evidence.Allow{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}
		}, codes: []string{"allowed"}},
		"an exec probe": {pod: func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}
		}, codes: []string{"probe-may-need-network"}},
		"a readiness probe of another port": {pod: func(p *corev1.Pod) {
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(9)}}}
		}, codes: []string{"readiness-fails"}},
		"a probe of a port that is not declared": {pod: func(p *corev1.Pod) { p.Spec.Containers[0].Ports = nil }, codes: []string{"probe-unresolved"}},
		"a probe of another host":                {pod: func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe.HTTPGet.Host = "198.51.100.1" }, codes: []string{"probe-elsewhere"}},
		"a privileged container":                 {pod: func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes} }, codes: []string{"node-reach", "target-can-undo"}},
		"NET_ADMIN": {pod: func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}}
		}, codes: []string{"target-can-undo"}, not: []string{"node-reach"}},
		"a hand of ours": {pod: func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "irkit-1",
				SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}}}}}
		}, codes: []string{"hand-there"}, not: []string{"target-can-undo"}},
		"a debug container of someone else": {pod: func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger-x", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}}
		}, codes: []string{"target-can-undo"}},
		"a cordoned node": {scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.Node.Unschedulable = true }, codes: []string{"already-cordoned"}, not: []string{"node-cordoned"}},
		"an unknown node": {scene: func(s *quarantine.Scene, _ *quarantine.Want) { s.Node = nil }, codes: []string{"node-unknown"}, refused: []string{"cordon"}},
		"a budget at its limit": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Budgets = []policyv1.PodDisruptionBudget{{Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}, Status: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 1}}}
		}, codes: []string{"budget-loses-pod"}},
		"an endpoint by hand": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Slices = []discoveryv1.EndpointSlice{{ObjectMeta: metav1.ObjectMeta{Name: "manual"}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.7"}}}}}
		}, codes: []string{"endpoint-by-hand"}},
		"a gap": {scene: func(s *quarantine.Scene, _ *quarantine.Want) {
			s.Gaps = []quarantine.Gap{{What: "services", Why: "not allowed"}}
		}, codes: []string{"gap"}},
	} {
		t.Run(name, func(t *testing.T) {
			edit := func(*corev1.Pod) {}
			if c.pod != nil {
				edit = c.pod
			}
			s, _, _ := scene(t, pod(c.owner, edit))
			w := want
			if c.scene != nil {
				c.scene(&s, &w)
			}
			f := quarantine.Forecast(s, target(), w)
			var codes []string
			for _, x := range f.Findings {
				codes = append(codes, x.Code)
				if x.Text == "" || strings.Contains(x.Text, "%!") || strings.HasSuffix(x.Text, ".") {
					t.Errorf("%s reads badly: %q", x.Code, x.Text)
				}
			}
			for _, code := range c.codes {
				if !slices.Contains(codes, code) {
					t.Errorf("no finding %s in %v", code, codes)
				}
			}
			for _, code := range c.not {
				if slices.Contains(codes, code) {
					t.Errorf("finding %s in %v", code, codes)
				}
			}
			refused := slices.DeleteFunc(slices.Clone(f.Refused), func(l string) bool { return l == quarantine.LayerDeny })
			if !slices.Equal(append([]string{}, refused...), append([]string{}, c.refused...)) {
				t.Errorf("refused %v, want %v", refused, c.refused)
			}
			asked := len(w.Layers) == 0 || slices.Contains(w.Layers, quarantine.LayerDeny)
			if has := len(s.CNI.Deny) > 0; asked && !has && !slices.Contains(codes, "no-deny-api") || has && slices.Contains(codes, "no-deny-api") {
				t.Errorf("deny in %v, and %v", s.CNI.Deny, codes)
			}
			refusedAsForecast(t, s, w, f)
		})
	}
}

// refusedAsForecast: what the forecast refuses, Prepare refuses; what it lists, Prepare can.
func refusedAsForecast(t *testing.T, s quarantine.Scene, w quarantine.Want, f evidence.Forecast) {
	t.Helper()
	locked := slices.ContainsFunc(f.Findings, func(x evidence.Finding) bool { return x.Code == "held-by-other-case" })
	for _, l := range []quarantine.Layer{quarantine.NewNetns(nil, w, nil, 0), quarantine.NewLabel(nil, w), quarantine.NewNetpol(nil, w), quarantine.NewDetach(nil, w), quarantine.NewProtect(nil, w), cordon.New(nil)} {
		name := l.Traits().Name
		_, err := l.Prepare(s, target())
		switch {
		case slices.Contains(f.Refused, name):
			if !errors.Is(err, quarantine.ErrUnsuited) {
				t.Errorf("%s is refused in the forecast and prepared with %v", name, err)
			}
		case slices.Contains(f.Layers, name) && err != nil && !locked:
			t.Errorf("%s is in the forecast and not prepared: %v", name, err)
		}
	}
}

func TestTheCaptureBudgetIsTheLeast(t *testing.T) {
	s, _, _ := scene(t, pod("", func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", LivenessProbe: &corev1.Probe{PeriodSeconds: 2, FailureThreshold: 3, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}})
	}))
	if got := quarantine.Forecast(s, target(), want).BudgetSeconds; got != 6 {
		t.Errorf("%d s, want 6", got)
	}
}

func TestHoles(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	s, _, _ := scene(t, pod("", func(p *corev1.Pod) {
		tcp := func(port intstr.IntOrString) *corev1.Probe {
			return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}}
		}
		// "http" here is another number than in the first container: resolved where declared.
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9000}}, StartupProbe: tcp(intstr.FromString("http"))},
			corev1.Container{Name: "ready", ReadinessProbe: tcp(intstr.FromInt32(7777))},
			corev1.Container{Name: "grpc", LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 5000}}}})
		p.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always, LivenessProbe: tcp(intstr.FromInt32(15021))}, {Name: "init", LivenessProbe: tcp(intstr.FromInt32(1))}}
	}))
	var got []string
	for _, h := range quarantine.Holes(s) {
		got = append(got, netip.AddrPortFrom(h.Peer, h.Port).String()+" "+h.Why)
	}
	var wanted []string
	for _, port := range []string{"5000", "8080", "9000", "15021"} {
		wanted = append(wanted, "192.0.2.1:"+port+" node address", "10.0.0.1:"+port+" default gateway")
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("%q\nwant %q", got, wanted)
	}
	s.Node.CNIHost = []netip.Addr{netip.MustParseAddr("10.0.0.99")}
	if h := quarantine.Holes(s); h[1].Peer != s.Node.CNIHost[0] || len(h) != 8 {
		t.Errorf("with a CNI host address: %+v", h)
	}
	s.Node = nil
	if h := quarantine.Holes(s); len(h) != 4 || h[0].Peer.String() != "192.0.2.1" {
		t.Errorf("without the node: %+v", h)
	}
}

// The scene goes into the bundle: it must hold no secret value.
func TestTheSceneHoldsNoSecretValue(t *testing.T) {
	s, _, _ := scene(t, pod("ReplicaSet", func(p *corev1.Pod) {
		p.Annotations[corev1.LastAppliedConfigAnnotation] = `{"env":"hunter2"}`
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Args: []string{"hunter2"}, Env: []corev1.EnvVar{{Name: "E", Value: "hunter2"}}}}}
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", VolumeAttributes: map[string]string{"k": "hunter2"}}}}}
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Message: "hunter2"}
	}))
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") {
		t.Errorf("the planted value is in %s", b)
	}
	if !strings.Contains(string(b), "DB_PASSWORD") {
		t.Error("the control, the name, is not there")
	}
}

// policy is a NetworkPolicy of namespace prod with this specification.
func policy(t testing.TB, spec string) networkingv1.NetworkPolicy {
	t.Helper()
	p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "prod"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return p
}
