//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ownNamespace is where tests make pods of their own, so that those which change nothing
// else of the cluster can run side by side. bench/e2e.sh makes it.
const ownNamespace = "e2e"

// own makes a pod of the test's own, in ownNamespace unless an edit says otherwise, waits until it is ready, and deletes it at the end.
func own(t *testing.T, c kubernetes.Interface, name string, container corev1.Container, edits ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	uncordon(t, c)
	soon := int64(1)
	no := false
	container.Name, container.ImagePullPolicy = "app", corev1.PullNever
	made := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, GenerateName: name + "-", Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &soon, AutomountServiceAccountToken: &no, Containers: []corev1.Container{container},
		},
	}
	for _, edit := range edits {
		edit(made)
	}
	pods := c.CoreV1().Pods(made.Namespace)
	p, err := pods.Create(t.Context(), made, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pods.Delete(context.WithoutCancel(t.Context()), p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete pod %s: %v", p.Name, err)
		}
	})
	eventually(t, 2*time.Minute, "pod "+p.Name+" is ready", func() bool {
		now, err := pods.Get(t.Context(), p.Name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		p = now
		for _, s := range now.Status.Conditions {
			if s.Type == corev1.PodReady && s.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
	return p
}

// bulk is a pod whose files make a stream worth cutting: size MiB that nothing
// compresses, in files of 4 MiB, and 300 small ones.
func bulk(t *testing.T, c kubernetes.Interface, mebibytes string) *corev1.Pod {
	t.Helper()
	const fill = `mkdir -p /srv/small
n=0; while [ $n -lt 300 ]; do echo "file $n" >/srv/small/f$n; n=$((n+1)); done
n=0; while [ $n -lt $MIB ]; do dd if=/dev/urandom of=/srv/blob$n bs=1M count=4 2>/dev/null; n=$((n+4)); done
touch /tmp/ready
while :; do sleep 3600; done`
	return own(t, c, "bulk", corev1.Container{
		Image: debug, Command: []string{"sh", "-c", fill}, Env: []corev1.EnvVar{{Name: "MIB", Value: mebibytes}},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/tmp/ready"}}}, PeriodSeconds: 1,
		},
	})
}

// small is a pod with next to nothing in it.
func small(t *testing.T, c kubernetes.Interface) *corev1.Pod {
	t.Helper()
	return own(t, c, "small", corev1.Container{Image: "lab.local/distroless:1"})
}

// collect runs collect with what every test wants of it.
func (p *person) collect(pod *corev1.Pod, more ...string) ran {
	p.t.Helper()
	return p.irkit(append([]string{"collect", pod.Name, "-n", pod.Namespace, "--image", image, "--pull", "Never", "--yes", "-o", "json"}, more...)...)
}
