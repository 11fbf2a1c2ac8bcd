//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// swift is containment without what a whole node or a long wait takes, so that cases can
// run side by side.
const swift = `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: swift}
steps:
  - id: isolate
    isolate: {layers: [netns, netpol, detach]}
  - id: measure
    measure: {within: 1s}
`

// intruderIn is a pod template with an intruder in it, whose connection the command server
// hears of.
func intruderIn(labels map[string]string) corev1.PodTemplateSpec {
	soon, no := int64(1), false
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &soon, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "web", Image: "lab.local/suspect:1", ImagePullPolicy: corev1.PullNever,
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			}},
		},
	}
}

// workload makes a controller of that kind, and answers with its first pod once the
// command server hears of it. All of it goes at the end.
func workload(t *testing.T, c kubernetes.Interface, kind, name string, replicas int32) *corev1.Pod {
	t.Helper()
	uncordon(t, c)
	labels := map[string]string{"app": name}
	meta, sel, tpl := metav1.ObjectMeta{Name: name, Namespace: ownNamespace}, &metav1.LabelSelector{MatchLabels: labels}, intruderIn(labels)
	ctx, o := t.Context(), metav1.CreateOptions{}
	var err error
	switch kind {
	case "Deployment":
		_, err = c.AppsV1().Deployments(ownNamespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: sel, Template: tpl}}, o)
	case "StatefulSet":
		_, err = c.AppsV1().StatefulSets(ownNamespace).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &replicas, ServiceName: name, Selector: sel, Template: tpl}}, o)
	case "DaemonSet":
		_, err = c.AppsV1().DaemonSets(ownNamespace).Create(ctx, &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: sel, Template: tpl}}, o)
	case "Job":
		tpl.Spec.RestartPolicy = corev1.RestartPolicyNever
		_, err = c.BatchV1().Jobs(ownNamespace).Create(ctx, &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: tpl}}, o)
	default:
		meta.Labels = labels
		_, err = c.CoreV1().Pods(ownNamespace).Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: tpl.Spec}, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeWorkload(t, c, kind, name) })
	var pod corev1.Pod
	eventually(t, 2*time.Minute, kind+" "+name+" has a pod, and the command server hears of it", func() bool {
		all := podsOf(t, c, name)
		if len(all) == 0 {
			return false
		}
		slices.SortFunc(all, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
		pod = all[0]
		return ready(&pod) && time.Since(heard(t, pod.Status.PodIP)) < 2*time.Second
	})
	return &pod
}

func removeWorkload(t *testing.T, c kubernetes.Interface, kind, name string) {
	t.Helper()
	ctx, back := context.WithoutCancel(t.Context()), metav1.DeletePropagationBackground
	o := metav1.DeleteOptions{PropagationPolicy: &back, GracePeriodSeconds: new(int64)}
	var err error
	switch kind {
	case "Deployment":
		err = c.AppsV1().Deployments(ownNamespace).Delete(ctx, name, o)
	case "StatefulSet":
		err = c.AppsV1().StatefulSets(ownNamespace).Delete(ctx, name, o)
	case "DaemonSet":
		err = c.AppsV1().DaemonSets(ownNamespace).Delete(ctx, name, o)
	case "Job":
		err = c.BatchV1().Jobs(ownNamespace).Delete(ctx, name, o)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("delete %s %s: %v", kind, name, err)
	}
	// What a test that failed left contained has no owner and no label any more.
	all, err := c.CoreV1().Pods(ownNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	for _, p := range all.Items {
		if p.Name == name || strings.HasPrefix(p.Name, name+"-") {
			if err := c.CoreV1().Pods(ownNamespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("delete pod %s: %v", p.Name, err)
			}
		}
	}
}

// podsOf are the pods that carry the workload's label and are not on their way out.
func podsOf(t *testing.T, c kubernetes.Interface, name string) []corev1.Pod {
	t.Helper()
	all, err := c.CoreV1().Pods(ownNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// runSwift contains without the cordon.
func (p *person) runSwift(pod *corev1.Pod, more ...string) ran {
	p.t.Helper()
	return p.irkit(append([]string{"run", p.write("swift.yaml", swift), pod.Name, "-n", pod.Namespace, "--image", image, "--pull", "Never", "--yes", "-o", "json"}, more...)...)
}

// foresaw is the forecast's sentence of that code; the test fails without one.
func foresaw(t *testing.T, bundle, code string) string {
	t.Helper()
	var f evidence.Forecast
	if err := json.Unmarshal(mustRead(t, filepath.Join(bundle, filepath.FromSlash(evidence.ForecastJSON))), &f); err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Findings {
		if x.Code == code {
			return x.Text
		}
	}
	t.Fatalf("the forecast has no %s: %+v", code, f.Findings)
	return ""
}

func controllerOf(p *corev1.Pod) string {
	for _, r := range p.OwnerReferences {
		if r.Controller != nil && *r.Controller {
			return r.Kind
		}
	}
	return ""
}

// TestOwners is the owner table: for each kind of owner, what the forecast says before the
// first write, held against what its controller then does, while the pod is contained and
// after it is given back.
func TestOwners(t *testing.T) {
	for _, o := range []struct {
		kind, owner, code string
		replicas          int32
		says              []string
		during, after     func(*testing.T, kubernetes.Interface, *corev1.Pod, string)
	}{
		{"Deployment", "ReplicaSet", "replacement-starts", 1, []string{"starts a replacement at once", "deletes one"}, replaced, oneIsDeleted},
		{"StatefulSet", "StatefulSet", "ordinal-empty", 2, []string{"ordinal stays empty", "ordered scaling", "returns cleanly"}, ordinalEmpty, returnsCleanly},
		{"DaemonSet", "DaemonSet", "twin-on-node", 1, []string{"a twin on the same node", "the oldest pod wins"}, replaced, oldestWins},
		{"Job", "Job", "job-runs-another", 1, []string{"runs another pod"}, replaced, oneIsDeleted},
		{"Pod", "", "no-owner", 1, []string{"nothing replaces it"}, nothingComes, returnsCleanly},
	} {
		t.Run(o.kind, func(t *testing.T) {
			t.Parallel()
			c := cluster(t)
			name := "own-" + strings.ToLower(o.kind)
			was := workload(t, c, o.kind, name, o.replicas)
			p := newPerson(t)
			r := p.runSwift(was).want(t, 0).result(t)
			said := foresaw(t, r.Bundle, o.code)
			for _, w := range o.says {
				if !strings.Contains(said, w) {
					t.Errorf("the forecast does not say %q: %s", w, said)
				}
			}
			held := getPod(t, c, ownNamespace, was.Name)
			if held.Labels["app"] != "" || controllerOf(held) != "" {
				t.Fatalf("while contained: labels %v, owners %v", held.Labels, held.OwnerReferences)
			}
			unheard(t, was)
			o.during(t, c, was, name)
			unheard(t, was)
			p.release(was.Name, ownNamespace, "--to-service").want(t, 0)
			o.after(t, c, was, name)
			if now, err := c.CoreV1().Pods(ownNamespace).Get(t.Context(), was.Name, metav1.GetOptions{}); err == nil && now.DeletionTimestamp == nil {
				if now.UID != was.UID || !equalMaps(now.Labels, was.Labels) || controllerOf(now) != o.owner {
					t.Errorf("after release: uid %s, labels %v, were %v, owner %q", now.UID, now.Labels, was.Labels, controllerOf(now))
				}
			}
			noneOfCase(t, c, r.Case)
		})
	}
}

// unheard: the command server hears nothing of the pod any more.
func unheard(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	time.Sleep(1200 * time.Millisecond)
	if at := heard(t, pod.Status.PodIP); time.Since(at) < time.Second {
		t.Errorf("the command server heard of the contained pod %s ago", time.Since(at))
	}
}

// noneOfCase wants no object of the case's left around the pod.
func noneOfCase(t *testing.T, c kubernetes.Interface, caseID string) {
	t.Helper()
	of := metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID}
	policies, err := c.NetworkingV1().NetworkPolicies(ownNamespace).List(t.Context(), of)
	if err != nil || len(policies.Items) > 0 {
		t.Errorf("policies left: %d, %v", len(policies.Items), err)
	}
	eventually(t, 90*time.Second, "the probe pod is gone", func() bool {
		probes, err := c.CoreV1().Pods("irkit-system").List(t.Context(), of)
		return err == nil && len(probes.Items) == 0
	})
}

// others are the workload's pods but the one.
func others(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) []corev1.Pod {
	t.Helper()
	return slices.DeleteFunc(podsOf(t, c, name), func(p corev1.Pod) bool { return p.UID == was.UID })
}

func replaced(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) {
	t.Helper()
	eventually(t, 60*time.Second, "another pod of "+name+" runs", func() bool {
		o := others(t, c, was, name)
		return len(o) == 1 && ready(&o[0]) && o[0].Spec.NodeName == was.Spec.NodeName
	})
}

func oneIsDeleted(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) {
	t.Helper()
	eventually(t, 60*time.Second, "one pod of "+name+" is left", func() bool { return len(podsOf(t, c, name)) == 1 })
	left := podsOf(t, c, name)
	t.Logf("the controller kept %s; the one that was contained is %s", left[0].Name, was.Name)
}

func oldestWins(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) {
	t.Helper()
	eventually(t, 60*time.Second, "the twin is deleted", func() bool {
		all := podsOf(t, c, name)
		return len(all) == 1 && all[0].UID == was.UID
	})
}

// ordinalEmpty: the set is asked for one pod more, and makes neither that nor a
// replacement, since both wait for the ordinal that is taken.
func ordinalEmpty(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) {
	t.Helper()
	sets, scale := c.AppsV1().StatefulSets(ownNamespace), []byte(`{"spec":{"replicas":3}}`)
	if _, err := sets.Patch(t.Context(), name, types.MergePatchType, scale, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	if got := others(t, c, was, name); len(got) != 1 || got[0].Name != name+"-1" {
		t.Errorf("%d other pods, want %s-1 alone", len(got), name)
	}
}

func returnsCleanly(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) {
	t.Helper()
	eventually(t, 60*time.Second, "the pod is back", func() bool {
		now, err := c.CoreV1().Pods(ownNamespace).Get(t.Context(), was.Name, metav1.GetOptions{})
		return err == nil && now.UID == was.UID && controllerOf(now) == controllerOf(was) && time.Since(heard(t, was.Status.PodIP)) < 2*time.Second
	})
	if controllerOf(was) == "StatefulSet" { // and the scaling that waited goes on
		eventually(t, 90*time.Second, "ordinal 2 is there", func() bool { return len(podsOf(t, c, name)) == 3 })
	}
}

func nothingComes(t *testing.T, c kubernetes.Interface, was *corev1.Pod, name string) {
	t.Helper()
	time.Sleep(3 * time.Second)
	if o := others(t, c, was, name); len(o) > 0 {
		t.Errorf("another pod came: %s", o[0].Name)
	}
}
