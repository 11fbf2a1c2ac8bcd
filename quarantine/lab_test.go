package quarantine_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// The tests of this file need a cluster that nobody depends on: they are run when
// IRKIT_LAB_KUBECONFIG names its kubeconfig. They work in namespaces of their own, and
// leave nodes alone.

func lab(t *testing.T) *cluster.Conn {
	t.Helper()
	path := os.Getenv("IRKIT_LAB_KUBECONFIG")
	if path == "" {
		t.Skip("IRKIT_LAB_KUBECONFIG names no lab")
	}
	conn, err := cluster.Connect(cluster.Options{Kubeconfig: path, Case: "lab", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := conn.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "quarantine-test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conn.Namespace = ns.Name
	t.Cleanup(func() {
		_ = conn.Client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns.Name, metav1.DeleteOptions{})
	})
	return conn
}

// workload creates one pod of the kind named, and answers it when it runs.
func workload(t *testing.T, conn *cluster.Conn, kind string) evidence.Target {
	t.Helper()
	lbl := map[string]string{"app": "web"}
	zero, one := int64(0), int32(1)
	tpl := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: lbl}, Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &zero,
		Containers: []corev1.Container{{Name: "web", Image: "lab.local/busybox:1", ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "3600"}}}}}
	meta, sel, ns := metav1.ObjectMeta{Name: "web", Labels: lbl}, &metav1.LabelSelector{MatchLabels: lbl}, conn.Namespace
	var err error
	switch kind {
	case "Deployment":
		_, err = conn.Client.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: sel, Template: tpl}}, metav1.CreateOptions{})
	case "StatefulSet":
		_, err = conn.Client.AppsV1().StatefulSets(ns).Create(t.Context(), &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: sel, Template: tpl}}, metav1.CreateOptions{})
	case "DaemonSet":
		_, err = conn.Client.AppsV1().DaemonSets(ns).Create(t.Context(), &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: sel, Template: tpl}}, metav1.CreateOptions{})
	case "Job":
		tpl.Spec.RestartPolicy = corev1.RestartPolicyNever
		_, err = conn.Client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: tpl}}, metav1.CreateOptions{})
	default:
		_, err = conn.Client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{ObjectMeta: meta, Spec: tpl.Spec}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Client.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: lbl, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var pods *corev1.PodList
	eventually(t, kind+" runs", func() bool {
		pods, err = conn.Client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		return err == nil && len(pods.Items) == 1 && pods.Items[0].Status.Phase == corev1.PodRunning
	})
	target, _, err := conn.Resolve(t.Context(), pods.Items[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 240 {
		if ok() {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Fatal("never: " + what)
}

func TestOnTheLabEveryOwnerIsDetachedAndPutBack(t *testing.T) {
	for _, kind := range []string{"Pod", "Deployment", "StatefulSet", "DaemonSet", "Job"} {
		t.Run(kind, func(t *testing.T) {
			conn := lab(t)
			target := workload(t, conn, kind)
			before, err := conn.Live(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			w := quarantine.Want{Case: "lab-" + strings.ToLower(kind), Layers: []string{"label", "netpol", "detach"}}
			s, err := quarantine.Survey(t.Context(), conn, target)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Gaps) > 0 || len(s.APIServer) == 0 || s.Node == nil || len(s.Services) != 1 {
				t.Errorf("scene: gaps %v, api server %v, services %d", s.Gaps, s.APIServer, len(s.Services))
			}
			f := quarantine.Forecast(s, target, w)
			if !slices.Equal(f.Layers, w.Layers) {
				t.Errorf("layers %v, refused %v", f.Layers, f.Refused)
			}
			layers := []quarantine.Layer{quarantine.NewLabel(conn, w), quarantine.NewNetpol(conn, w), quarantine.NewDetach(conn, w)}
			dry(t, layers, s, target)
			done := make([]quarantine.Done, 0, 4)
			for _, l := range layers {
				cs, err := l.Prepare(s, target)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range cs {
					ctx, ids := cluster.WithAudit(t.Context())
					r, err := l.Apply(ctx, c)
					if err != nil {
						t.Fatal(err)
					}
					if len(ids()) == 0 || r.Already {
						t.Errorf("%s: audit ids %v, already %v", c.ID, ids(), r.Already)
					}
					if r, err := l.Apply(t.Context(), c); err != nil || !r.Already {
						t.Errorf("%s again: %+v, %v", c.ID, r, err)
					}
					done = append(done, quarantine.Done{Change: quarantine.Merge(c, r)})
				}
			}
			p, err := conn.Live(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Labels) != 1 || p.Labels[evidence.LabelQuarantine] != w.Case || len(p.OwnerReferences) != 0 {
				t.Errorf("labels %v, owners %v", p.Labels, p.OwnerReferences)
			}
			if kind == "Deployment" || kind == "DaemonSet" || kind == "Job" {
				eventually(t, "a replacement", func() bool {
					l, err := conn.Client.CoreV1().Pods(conn.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
					return err == nil && len(l.Items) > 0
				})
				roomForTwo(t, conn, kind)
			}
			putBack(t, conn, target, w, layers, done, before)
		})
	}
}

// roomForTwo keeps the controller from having one pod too many when the target returns.
func roomForTwo(t *testing.T, conn *cluster.Conn, kind string) {
	t.Helper()
	if kind != "Deployment" {
		return
	}
	if _, err := conn.Client.AppsV1().Deployments(conn.Namespace).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func dry(t *testing.T, layers []quarantine.Layer, s quarantine.Scene, target evidence.Target) {
	t.Helper()
	for _, l := range layers {
		cs, err := l.Prepare(s, target)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			if err := l.(quarantine.DryRunner).ApplyDry(t.Context(), c); err != nil {
				t.Errorf("dry run of %s: %v", c.ID, err)
			}
		}
	}
}

func putBack(t *testing.T, conn *cluster.Conn, target evidence.Target, w quarantine.Want, layers []quarantine.Layer, done []quarantine.Done, before *corev1.Pod) {
	t.Helper()
	by := map[string]quarantine.Layer{}
	for _, l := range layers {
		by[l.Traits().Name] = l
	}
	for range 2 {
		now, err := conn.Live(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := quarantine.PlanRelease(now, target, done, quarantine.ToService)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Steps {
			if s.Kind == quarantine.StepWaitReady {
				if ok, err := quarantine.Ready(t.Context(), conn, target, s.Limit); err != nil || !ok {
					t.Errorf("ready: %v, %v", ok, err)
				}
				continue
			}
			if _, err := by[s.Layer].Release(t.Context(), *s.Undo); err != nil {
				t.Errorf("%s: %v", s.Change.ID, err)
			}
		}
	}
	p, err := conn.Live(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(p.Labels, before.Labels) || !maps.Equal(p.Annotations, before.Annotations) {
		t.Errorf("labels %v, were %v; annotations %v, were %v", p.Labels, before.Labels, p.Annotations, before.Annotations)
	}
	pols, err := conn.Client.NetworkingV1().NetworkPolicies(conn.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pols.Items) != 0 {
		t.Errorf("%d policies left, %v", len(pols.Items), err)
	}
	if len(before.OwnerReferences) > 0 {
		eventually(t, fmt.Sprintf("%s adopts its pod again", before.OwnerReferences[0].Kind), func() bool {
			p, err := conn.Live(t.Context(), target)
			return err == nil && len(p.OwnerReferences) == 1 && p.OwnerReferences[0].UID == before.OwnerReferences[0].UID
		})
	}
}

func TestOnTheLabOnlyOneOfTwoCasesGetsTheLock(t *testing.T) {
	conn := lab(t)
	target := workload(t, conn, "Pod")
	s, err := quarantine.Survey(t.Context(), conn, target)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 2)
	for _, id := range []string{"one", "two"} {
		l := quarantine.NewLabel(conn, quarantine.Want{Case: id})
		cs, err := l.Prepare(s, target)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := l.Apply(t.Context(), cs[0])
			got <- err
		}()
	}
	a, b := <-got, <-got
	if (a == nil) == (b == nil) {
		t.Errorf("one of two must win: %v, %v", a, b)
	}
}
