package quarantine_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authz "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/reach"
)

const podUID = "0f1e2d3c-0000-4000-8000-000000000001"

func target() evidence.Target {
	return evidence.Target{ClusterUID: "cluster-1", Namespace: "prod", Pod: "web-0", UID: podUID, Node: "n1"}
}

// pod is a running pod of the given owner kind (empty: none).
func pod(owner string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0", Namespace: "prod", UID: podUID,
			Labels: map[string]string{"app": "web", "tier": "front"}, Annotations: map[string]string{"team": "blue"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Command: []string{"web", "--password=hunter2"},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env:   []corev1.EnvVar{{Name: "DB_PASSWORD", Value: "hunter2"}},
			LivenessProbe: &corev1.Probe{PeriodSeconds: 5, FailureThreshold: 2, ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http"), HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "hunter2"}}}}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.7", PodIPs: []corev1.PodIP{{IP: "10.0.0.7"}}, HostIP: "192.0.2.1",
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}
	yes := true
	switch owner {
	case "ReplicaSet":
		p.Labels["pod-template-hash"] = "abc"
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: owner, Name: "web-abc", UID: "rs-1", Controller: &yes}}
	case "StatefulSet":
		p.Labels["statefulset.kubernetes.io/pod-name"] = "web-0"
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: owner, Name: "web", UID: "sts-1", Controller: &yes}}
	case "DaemonSet":
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: owner, Name: "web", UID: "ds-1", Controller: &yes}}
	case "Job":
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: owner, Name: "web", UID: "job-1", Controller: &yes}}
	case "Rollout":
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: owner, Name: "web", UID: "ro-1", Controller: &yes}}
	}
	for _, e := range edits {
		e(p)
	}
	return p
}

func owners() []runtime.Object {
	yes := true
	sel := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	tpl := corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: "web", Containers: []corev1.Container{{Name: "web", Image: "web:1",
		EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "db"}}}}}}}}
	meta := func(name, uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "prod", UID: types.UID(uid)}
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: meta("web-abc", "rs-1"), Spec: appsv1.ReplicaSetSpec{Selector: sel, Template: tpl}}
	rs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "dep-1", Controller: &yes}}
	return []runtime.Object{rs,
		&appsv1.Deployment{ObjectMeta: meta("web", "dep-1"), Spec: appsv1.DeploymentSpec{Selector: sel, Template: tpl}},
		&appsv1.StatefulSet{ObjectMeta: meta("web", "sts-1"), Spec: appsv1.StatefulSetSpec{Selector: sel, Template: tpl}},
		&appsv1.DaemonSet{ObjectMeta: meta("web", "ds-1"), Spec: appsv1.DaemonSetSpec{Selector: sel, Template: tpl}},
		&batchv1.Job{ObjectMeta: meta("web", "job-1"), Spec: batchv1.JobSpec{Selector: sel, Template: tpl}},
	}
}

func surroundings() []runtime.Object {
	return []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "cluster-1"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "prod", UID: "sa-default"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod", Labels: map[string]string{"env": "prod"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/24"}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: "n1"}},
				NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.1"}, Ports: []corev1.ServicePort{{Port: 443, Protocol: corev1.ProtocolTCP}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-dns"}},
			Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.10"}, Ports: []corev1.ServicePort{{Port: 53, Protocol: corev1.ProtocolUDP}, {Port: 53, Protocol: corev1.ProtocolTCP}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "prod"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}},
	}
}

// world is a fake cluster. The fake honours the test operations of JSON patches.
func world(t *testing.T, objs ...runtime.Object) (*cluster.Conn, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objs...)
	client.PrependReactor("create", "subjectaccessreviews", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, &authz.SubjectAccessReview{}, nil // no
	})
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists())
	return &cluster.Conn{Client: client, Dynamic: dyn, Cluster: "https://fake", Namespace: "prod"}, client
}

// lists are the kinds of lists that the survey may ask for beyond Kubernetes' own.
func lists() map[schema.GroupVersionResource]string {
	out := map[schema.GroupVersionResource]string{{Group: "cilium.io", Version: "v2", Resource: "ciliumnodes"}: "CiliumNodeList"}
	for _, r := range reach.Resources() {
		out[r.GroupVersionResource] = r.Kind + "List"
	}
	return out
}

// scene surveys a world with one target.
func scene(t *testing.T, p *corev1.Pod, more ...runtime.Object) (quarantine.Scene, *cluster.Conn, *fake.Clientset) {
	t.Helper()
	conn, client := world(t, append(append(append(surroundings(), owners()...), p), more...)...)
	s, err := quarantine.Survey(t.Context(), conn, target())
	if err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	return s, conn, client
}

// count counts writes sent, with dryRun=All or without.
func count(client *fake.Clientset, dry bool) int {
	n := 0
	for _, a := range client.Actions() {
		var opts []string
		switch a := a.(type) {
		case ktesting.CreateActionImpl:
			opts = a.CreateOptions.DryRun
			if strings.HasPrefix(a.GetResource().Group, "auth") {
				continue
			}
		case ktesting.PatchActionImpl:
			opts = a.PatchOptions.DryRun
		case ktesting.UpdateActionImpl:
			opts = a.UpdateOptions.DryRun
		case ktesting.DeleteActionImpl:
			opts = a.DeleteOptions.DryRun
		default:
			continue
		}
		if (len(opts) > 0) == dry {
			n++
		}
	}
	return n
}

// dump shows pods, policies and nodes as they stand.
func dump(t *testing.T, client *fake.Clientset) string {
	t.Helper()
	var b strings.Builder
	show := func(m metav1.ObjectMeta, rest any) {
		m.ManagedFields, m.ResourceVersion, m.Generation = nil, "", 0
		if len(m.Labels) == 0 {
			m.Labels = nil
		}
		if len(m.Annotations) == 0 {
			m.Annotations = nil
		}
		x, _ := json.Marshal(m)
		y, _ := json.Marshal(rest)
		fmt.Fprintf(&b, "%s %s\n", x, y)
	}
	pods, err := client.Tracker().List(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.(*corev1.PodList).Items {
		p.OwnerReferences = nil // the controller's to write
		show(p.ObjectMeta, nil)
	}
	budgets, err := client.Tracker().List(schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range budgets.(*policyv1.PodDisruptionBudgetList).Items {
		show(b.ObjectMeta, b.Spec)
	}
	pols, err := client.Tracker().List(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}, schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pols.(*networkingv1.NetworkPolicyList).Items {
		show(p.ObjectMeta, p.Spec)
	}
	return b.String()
}

// replace puts another pod of the same name in the target's place.
func replace(t *testing.T, client *fake.Clientset) {
	t.Helper()
	gvr := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	if err := client.Tracker().Delete(gvr, "prod", "web-0"); err != nil {
		t.Fatal(err)
	}
	p := pod("ReplicaSet")
	p.UID = "another"
	if err := client.Tracker().Create(gvr, p, "prod"); err != nil {
		t.Fatal(err)
	}
}
