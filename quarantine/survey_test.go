package quarantine_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	discoveryfake "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/quarantine"
)

func forbid(client *fake.Clientset, resource string) {
	client.PrependReactor("*", resource, func(a ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
	})
}

func TestSurvey(t *testing.T) {
	s, _, _ := scene(t, pod("ReplicaSet"), pod("ReplicaSet", func(p *corev1.Pod) { p.Name, p.UID = "web-1", "w1" }))
	if s.Pod.Name != "web-0" || s.Node == nil || s.Node.PodCIDRs[0] != netip.MustParsePrefix("10.0.0.0/24") || s.Namespace.Labels["env"] != "prod" {
		t.Errorf("%+v", s)
	}
	if len(s.Services) != 1 || len(s.Siblings) != 1 || !s.Siblings[0].SameOwner || len(s.Gaps) != 0 {
		t.Errorf("services %d, siblings %+v, gaps %v", len(s.Services), s.Siblings, s.Gaps)
	}
	if len(s.Owners) != 2 || s.Owners[0].Kind != "ReplicaSet" || s.Owners[1].Kind != "Deployment" || s.Owners[1].Of != s.Owners[0].UID ||
		!slices.Equal(s.Owners[0].Template.Secrets, []string{"db"}) {
		t.Errorf("owners %+v", s.Owners)
	}
}

func TestSurveyNotesWhatIsForbiddenAndFailsWhereItIsRequired(t *testing.T) {
	objs := append(append(surroundings(), owners()...), pod("ReplicaSet"))
	for _, res := range []string{"nodes", "namespaces", "services", "endpointslices", "poddisruptionbudgets", "daemonsets", "replicasets"} {
		conn, client := world(t, objs...)
		forbid(client, res)
		s, err := quarantine.Survey(t.Context(), conn, target())
		if err != nil || len(s.Gaps) == 0 || s.Gaps[0].Why != "not allowed" {
			t.Errorf("%s forbidden: %v, gaps %v", res, err, s.Gaps)
		}
	}
	for _, res := range []string{"pods", "networkpolicies"} {
		conn, client := world(t, objs...)
		forbid(client, res)
		if _, err := quarantine.Survey(t.Context(), conn, target()); err == nil || cluster.Hint(err) == "" {
			t.Errorf("%s forbidden: %v (hint %q)", res, err, cluster.Hint(err))
		}
	}
}

func TestSurveyOfAReplacedPod(t *testing.T) {
	conn, client := world(t, append(surroundings(), pod(""))...)
	replace(t, client)
	if _, err := quarantine.Survey(t.Context(), conn, target()); !errors.Is(err, cluster.ErrReplaced) {
		t.Errorf("%v", err)
	}
}

func TestTheCNIIsToldByItsSigns(t *testing.T) {
	agent := func(name string) *appsv1.DaemonSet {
		return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-system"}}
	}
	nodeagent := agent("aws-node")
	nodeagent.Spec.Template.Spec.Containers = []corev1.Container{{Name: "aws-eks-nodeagent", Args: []string{"--enable-network-policy=true"}}}
	ciliumNode := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": map[string]any{"name": "n1"},
		"spec": map[string]any{"addresses": []any{map[string]any{"type": "InternalIP", "ip": "192.0.2.1"}, map[string]any{"type": "CiliumInternalIP", "ip": "10.0.0.99"}}}}}
	for name, c := range map[string]struct {
		agents []runtime.Object
		groups []string
		node   bool
		want   string
		does   quarantine.Enforcement
	}{
		"nothing":                     {nil, nil, false, "", quarantine.Unknown},
		"Cilium by its DaemonSet":     {[]runtime.Object{agent("cilium")}, []string{"cilium.io"}, false, "cilium", quarantine.Enforces},
		"Cilium without a DaemonSet":  {nil, []string{"cilium.io"}, true, "cilium", quarantine.Enforces},
		"Cilium's CRDs left behind":   {nil, []string{"cilium.io"}, false, "cilium", quarantine.Unknown},
		"flannel":                     {[]runtime.Object{agent("kube-flannel-ds")}, nil, false, "flannel", quarantine.Ignores},
		"flannel with Calico":         {[]runtime.Object{agent("kube-flannel-ds")}, []string{"crd.projectcalico.org"}, false, "canal", quarantine.Enforces},
		"flannel beside Cilium's CRD": {[]runtime.Object{agent("kube-flannel-ds")}, []string{"cilium.io"}, false, "flannel", quarantine.Ignores},
		"AWS without its agent":       {[]runtime.Object{agent("aws-node")}, []string{"networking.k8s.aws"}, false, "aws-vpc-cni", quarantine.Unknown},
		"AWS with its agent":          {[]runtime.Object{nodeagent}, nil, false, "aws-vpc-cni", quarantine.Enforces},
	} {
		t.Run(name, func(t *testing.T) {
			conn, client := world(t, append(append(surroundings(), pod("")), c.agents...)...)
			d := client.Discovery().(*discoveryfake.FakeDiscovery)
			for _, g := range c.groups {
				d.Resources = append(d.Resources, &metav1.APIResourceList{GroupVersion: g + "/v1"})
			}
			if c.node {
				conn.Dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists(), ciliumNode)
			}
			s, err := quarantine.Survey(t.Context(), conn, target())
			if err != nil {
				t.Fatal(err)
			}
			if s.CNI.Name != c.want || s.CNI.Enforces != c.does {
				t.Errorf("%+v", s.CNI)
			}
			if c.node && !slices.Contains(s.Node.CNIHost, netip.MustParseAddr("10.0.0.99")) {
				t.Errorf("CNI host addresses %v", s.Node.CNIHost)
			}
			if len(s.Gaps) > 0 {
				t.Errorf("gaps %v", s.Gaps)
			}
		})
	}
}

func TestSurveyRulesAreWhole(t *testing.T) {
	for _, r := range quarantine.SurveyRules() {
		if r.Resource == "" || len(r.Verbs) == 0 || r.Why == "" || strings.Contains(r.Resource, "/") {
			t.Errorf("%+v", r)
		}
	}
}

// TestCalicoIsReadFromWhereItIsServed: from where it is stored, else from the API in front
// of it, never from both.
func TestCalicoIsReadFromWhereItIsServed(t *testing.T) {
	object := func(apiVersion string) runtime.Object {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": "GlobalNetworkPolicy", "metadata": map[string]any{"name": "open"},
			"spec": map[string]any{"selector": "all()", "types": []any{"Egress"}, "egress": []any{map[string]any{"action": "Allow"}}}}}
	}
	for name, c := range map[string]struct {
		groups []string
		want   string
	}{
		"stored":         {[]string{"crd.projectcalico.org"}, "crd.projectcalico.org/v1"},
		"served only":    {[]string{"projectcalico.org"}, "projectcalico.org/v3"},
		"both":           {[]string{"projectcalico.org", "crd.projectcalico.org"}, "crd.projectcalico.org/v1"},
		"no such groups": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn, client := world(t, append(surroundings(), pod(""))...)
			d := client.Discovery().(*discoveryfake.FakeDiscovery)
			for _, g := range c.groups {
				d.Resources = append(d.Resources, &metav1.APIResourceList{GroupVersion: g + "/v1"})
			}
			conn.Dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists(), object("crd.projectcalico.org/v1"), object("projectcalico.org/v3"))
			s, err := quarantine.Survey(t.Context(), conn, target())
			if err != nil {
				t.Fatal(err)
			}
			if got := len(s.Foreign); (c.want == "") != (got == 0) || got > 1 || got == 1 && s.Foreign[0].APIVersion != c.want {
				t.Fatalf("read %+v", s.Foreign)
			}
			if c.want != "" && !slices.Contains(codesOf(quarantine.Forecast(s, target(), want)), "residual-allow") {
				t.Error("its allow is not told")
			}
		})
	}
}
