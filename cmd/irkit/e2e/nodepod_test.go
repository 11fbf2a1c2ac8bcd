//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// apply has the cluster's administrator apply what irkit printed.
func (p *person) apply(t *testing.T, args ...string) {
	t.Helper()
	file := p.write("apply.yaml", p.irkit(args...).want(t, 0).stdout)
	c := exec.CommandContext(t.Context(), os.Getenv("IRKIT_E2E_APPLY"), file)
	c.Env = append(os.Environ(), "KUBECONFIG="+admin)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("apply %q: %v\n%s", args, err, out)
	}
}

// guarded is a namespace that enforces a Pod Security level, in which the responder has
// what `irkit rbac` prints, and no more.
func (p *person) guarded(t *testing.T, c kubernetes.Interface, level string) string {
	t.Helper()
	name := "e2e-" + level
	labels := map[string]string{"pod-security.kubernetes.io/enforce": level}
	_, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	p.apply(t, "rbac", "-n", name, "--user", "responder")
	return name
}

// sealedOff is a pod with an intruder that meets the restricted standard.
func sealedOff() corev1.PodSpec {
	yes, no, user, soon := true, false, int64(4711), int64(1)
	health := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &soon, AutomountServiceAccountToken: &no,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "web", Image: "lab.local/suspect:1", ImagePullPolicy: corev1.PullNever,
			Ports:           []corev1.ContainerPort{{ContainerPort: 8080}},
			LivenessProbe:   &corev1.Probe{ProbeHandler: health, PeriodSeconds: 1, FailureThreshold: 5},
			ReadinessProbe:  &corev1.Probe{ProbeHandler: health, PeriodSeconds: 1},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}, {
			Name: "side", Image: "lab.local/suspect:1", ImagePullPolicy: corev1.PullNever, Args: []string{"hold"}, Command: []string{"/suspect"},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}},
	}
}

// intruded makes such a pod and waits until the command server hears of it.
func intruded(t *testing.T, c kubernetes.Interface, namespace, name string) *corev1.Pod {
	t.Helper()
	uncordon(t, c)
	pods := c.CoreV1().Pods(namespace)
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	p, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-", Labels: map[string]string{"app": name}}, Spec: sealedOff(),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pods.Delete(context.WithoutCancel(t.Context()), p.Name, now); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return talking(t, c, namespace, p.Name)
}

func talking(t *testing.T, c kubernetes.Interface, namespace, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, 2*time.Minute, "pod "+name+" is ready and talks", func() bool {
		p, err := c.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		pod = p
		return err == nil && ready(p) && time.Since(heard(t, p.Status.PodIP)) < 2*time.Second
	})
	return pod
}

// flat is what the program said without the line breaks of its tables.
func (r ran) flat() ran {
	r.stdout, r.stderr = strings.Join(strings.Fields(r.stdout), " "), strings.Join(strings.Fields(r.stderr), " ")
	return r
}

// nodePods are those of a case; none is named where they cannot be listed.
func nodePods(t *testing.T, c kubernetes.Interface, caseID string) []corev1.Pod {
	t.Helper()
	l, err := c.CoreV1().Pods("irkit-node").List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID})
	if err != nil {
		t.Fatal(err)
	}
	return l.Items
}

func noNodePod(t *testing.T, c kubernetes.Interface, caseID string) {
	t.Helper()
	eventually(t, 90*time.Second, "the node pod of case "+caseID+" is gone", func() bool { return len(nodePods(t, c, caseID)) == 0 })
}

// quiet wants that the command server heard nothing for a while; the pod knocks five times
// a second and beats ten times.
func quiet(t *testing.T, ip string) {
	t.Helper()
	time.Sleep(1200 * time.Millisecond)
	if since := time.Since(heard(t, ip)); since < 1100*time.Millisecond {
		t.Errorf("the command server heard of %s %s ago", ip, since)
	}
}

func loud(t *testing.T, ip string) {
	t.Helper()
	eventually(t, 90*time.Second, "the command server hears of "+ip+" again", func() bool { return time.Since(heard(t, ip)) < time.Second })
}

// checkFromNode holds the bundle to a hand on the node: it says so, why, and what that is
// worth; everything of both containers is there.
func checkFromNode(t *testing.T, r result, why string) {
	t.Helper()
	var meta evidence.Meta
	if err := json.Unmarshal(mustRead(t, filepath.Join(r.Bundle, filepath.FromSlash(evidence.EvidenceJSON))), &meta); err != nil {
		t.Fatal(err)
	}
	if meta.Method.Mode != "node" || meta.Method.Profile != "node" {
		t.Errorf("method %+v", meta.Method)
	}
	if b := mustRead(t, filepath.Join(r.Bundle, filepath.FromSlash(evidence.EnvironmentJSON))); !bytes.Contains(b, []byte(why)) {
		t.Errorf("the bundle does not say %q", why)
	}
	if b := mustRead(t, filepath.Join(r.Bundle, filepath.FromSlash(evidence.ObserverJSON))); !bytes.Contains(b, []byte("privileged pod irkit-node-")) {
		t.Error("the node pod is no alteration")
	}
	all := entries(t, r.Bundle)
	for _, kind := range []string{"processes", "connections", "environment", "open-files", "mounts", "recovered", "persistence", "filesystem"} {
		for _, ordinal := range []string{"c0", "c1"} {
			if kind == "recovered" && ordinal == "c1" {
				continue // there is nothing to recover
			}
			e := find(t, all, kind, ordinal)
			if e.Trust != evidence.TrustNode || e.Status != evidence.Collected && e.Status != evidence.Changed {
				t.Errorf("%s of %s: trust %s, %s: %s", kind, ordinal, e.Trust, e.Status, e.Reason)
			}
		}
	}
	if p := string(content(t, r.Bundle, find(t, all, "processes", "c0"))); !strings.Contains(p, `"exe_deleted":true`) || !strings.Contains(p, `"memfd":true`) || strings.Contains(p, "kubelet") {
		t.Error("the processes are not the intruder's, or not his alone")
	}
	if s := string(content(t, r.Bundle, find(t, all, "connections", "c0"))); !strings.Contains(s, "203.0.113.66:4444") || strings.Contains(s, ":6443") {
		t.Error("the sockets are not the pod's")
	}
	if err := verifyStock(t, r.Bundle); err != nil {
		t.Error(err)
	}
}

// TestNodePodWhereAdmissionForbidsAHand: a pod with a live intrusion, in a namespace that
// takes no NET_ADMIN, is cut off and read from its node, and released from there again.
// Without the right to that, the plan says what is missing.
func TestNodePodWhereAdmissionForbidsAHand(t *testing.T) {
	c := cluster(t)
	pods := map[string]*corev1.Pod{}
	for _, level := range []string{"restricted", "baseline"} {
		ns := newPerson(t).guarded(t, c, level)
		pods[level] = intruded(t, c, ns, "guarded")
	}
	before := newPerson(t)
	if err := c.RbacV1().RoleBindings("irkit-node").Delete(t.Context(), "irkit", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	before.irkit("contain", pods["restricted"].Name, "-n", pods["restricted"].Namespace, "--image", image, "--dry-run=client").want(t, 0).flat().
		says(t, "Pod Security level restricted", "the cut needs a node pod, which cannot be had", "irkit rbac --node --user RESPONDER | kubectl apply -f -")
	before.apply(t, "rbac", "--node", "--user", "responder")
	for level, pod := range pods {
		t.Run(level, func(t *testing.T) {
			t.Parallel() // most of it waits until the policy holds by itself
			p, ns := newPerson(t), pod.Namespace
			p.irkit("contain", pod.Name, "-n", ns, "--image", image, "--dry-run=server", "--pull", "Never").want(t, 0).flat().
				says(t, "the cut will be made from a node pod in irkit-node", "run a privileged node pod on node lab-node")
			caseID := "node-" + level
			r := p.contain(pod.Name, ns, "--skip", "cordon", "--case", caseID).want(t, 0).result(t)
			checkVerdict(t, r.Verdict)
			if !cutStands(t, pod) {
				t.Error("no cut stands in the pod's network namespace")
			}
			quiet(t, pod.Status.PodIP)
			noNodePod(t, c, caseID)
			checkFromNode(t, r, "violates PodSecurity")
			if n := len(getPod(t, c, ns, pod.Name).Spec.EphemeralContainers); n != 0 {
				t.Errorf("%d ephemeral containers", n)
			}
			p.irkit("status", caseID).want(t, 0).flat().says(t, "the cut was made from a node pod, which ends with its session")
			p.release(pod.Name, ns, "--to-service", "--case", caseID).want(t, 0)
			loud(t, pod.Status.PodIP)
			if cutStands(t, pod) {
				t.Error("the cut still stands")
			}
			noNodePod(t, c, caseID)
			checkUntouched(t, c, pod, caseID)
		})
	}
}

// TestNodePodOfAStaticPod: the kubelet's own pod takes no hand, and is known on the node by
// the digest of its manifest.
func TestNodePodOfAStaticPod(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	p := newPerson(t)
	p.apply(t, "rbac", "--node", "--user", "responder")
	ns := ownNamespace
	manifest, err := json.Marshal(corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "static", Namespace: ns, Labels: map[string]string{"app": "static"}}, Spec: sealedOff(),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(labDir, "manifests", "e2e-static.json")
	if err := os.WriteFile(file, manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
		eventually(t, time.Minute, "the static pod is gone", func() bool {
			_, err := c.CoreV1().Pods(ns).Get(context.WithoutCancel(t.Context()), "static-lab-node", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
	})
	pod := talking(t, c, ns, "static-lab-node")
	onNode := pod.DeepCopy()
	onNode.UID = types.UID(pod.Annotations[corev1.MirrorPodAnnotationKey]) // as its control group has it
	r := p.contain(pod.Name, ns, "--skip", "cordon", "--case", "static").want(t, 0).result(t)
	checkVerdict(t, r.Verdict)
	if !cutStands(t, onNode) {
		t.Error("no cut stands in the pod's network namespace")
	}
	quiet(t, pod.Status.PodIP)
	noNodePod(t, c, "static")
	checkFromNode(t, r, "static pods take no ephemeral containers")
	p.release(pod.Name, ns, "--to-service", "--case", "static").want(t, 0)
	loud(t, pod.Status.PodIP)
	if cutStands(t, onNode) {
		t.Error("the cut still stands")
	}
	noNodePod(t, c, "static")
}

// TestNodePodOfAKilledSession: irkit ends with SIGKILL while its node pod runs; status says
// that it may be left, and release takes it and the cut away.
func TestNodePodOfAKilledSession(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	p := newPerson(t)
	ns := p.guarded(t, c, "baseline")
	p.apply(t, "rbac", "--node", "--user", "responder")
	pod := intruded(t, c, ns, "killed")
	const caseID = "node-killed"
	run := p.command(t.Context(), "contain", pod.Name, "-n", ns, "--image", image, "--pull", "Never", "--yes", "--skip", "cordon", "--case", caseID)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	eventually(t, time.Minute, "the node pod runs and the cut stands", func() bool {
		pods := nodePods(t, c, caseID)
		return len(pods) == 1 && pods[0].Status.Phase == corev1.PodRunning && cutStands(t, pod)
	})
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if len(nodePods(t, c, caseID)) != 1 {
		t.Fatal("the session ended before it was killed")
	}
	if s := p.standing(t, caseID); len(s.Left) == 0 || !strings.Contains(strings.Join(s.Left, " "), "node pod irkit-node/irkit-node-") {
		t.Errorf("status says of what is left: %q", s.Left)
	}
	quiet(t, pod.Status.PodIP)
	p.release(pod.Name, ns, "--to-service", "--case", caseID).want(t, 0)
	loud(t, pod.Status.PodIP)
	noNodePod(t, c, caseID)
	checkUntouched(t, c, pod, caseID)
}
