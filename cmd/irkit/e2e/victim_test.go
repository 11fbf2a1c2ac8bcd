//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// victim makes a StatefulSet of one pod with an intruder in it, and a Service in front, in
// the tests' own namespace; it waits until the command server hears of the pod, and takes
// all of it away at the end, with what is left of the cases
// "case-"+name and "case-"+name+"-other".
func victim(t *testing.T, c kubernetes.Interface, name string) *corev1.Pod {
	t.Helper()
	uncordon(t, c)
	labels := map[string]string{"app": name}
	one, soon, no := int32(1), int64(1), false
	health := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ownNamespace},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &one, ServiceName: name, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &soon, AutomountServiceAccountToken: &no,
					Containers: []corev1.Container{{
						Name: "web", Image: "lab.local/suspect:1", ImagePullPolicy: corev1.PullNever,
						Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
						LivenessProbe:  &corev1.Probe{ProbeHandler: health, PeriodSeconds: 1, FailureThreshold: 5},
						ReadinessProbe: &corev1.Probe{ProbeHandler: health, PeriodSeconds: 1},
					}},
				},
			},
		},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ownNamespace},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}},
	}
	if _, err := c.CoreV1().Services(ownNamespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppsV1().StatefulSets(ownNamespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeVictim(t, c, name) })
	var pod *corev1.Pod
	eventually(t, 2*time.Minute, "pod "+name+"-0 is ready and talks", func() bool {
		p, err := c.CoreV1().Pods(ownNamespace).Get(t.Context(), name+"-0", metav1.GetOptions{})
		pod = p
		return err == nil && ready(p) && time.Since(heard(t, p.Status.PodIP)) < 2*time.Second
	})
	return pod
}

func removeVictim(t *testing.T, c kubernetes.Interface, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	// A test that failed did not release: its policy would hold the next pod of that name.
	ours := metav1.ListOptions{LabelSelector: fmt.Sprintf("%s in (case-%s, case-%[2]s-other)", evidence.LabelCase, name)}
	for what, err := range map[string]error{
		"StatefulSet": c.AppsV1().StatefulSets(ownNamespace).Delete(ctx, name, metav1.DeleteOptions{}),
		"Service":     c.CoreV1().Services(ownNamespace).Delete(ctx, name, metav1.DeleteOptions{}),
		"pod":         c.CoreV1().Pods(ownNamespace).Delete(ctx, name+"-0", now),
		"policies of": c.NetworkingV1().NetworkPolicies(ownNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, ours),
		"probe of":    c.CoreV1().Pods("irkit-system").DeleteCollection(ctx, now, ours),
	} {
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s %s: %v", what, name, err)
		}
	}
}

func ready(p *corev1.Pod) bool {
	for _, s := range p.Status.Conditions {
		if s.Type == corev1.PodReady && s.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
