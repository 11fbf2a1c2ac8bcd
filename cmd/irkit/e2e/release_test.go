//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// shopPod is one of the Deployment's pods.
func shopPod(t *testing.T, c kubernetes.Interface) *corev1.Pod {
	t.Helper()
	pods, err := c.CoreV1().Pods("prod").List(t.Context(), metav1.ListOptions{LabelSelector: "app=shop"})
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("%d pods of shop: %v", len(pods.Items), err)
	}
	return &pods.Items[0]
}

// short leaves the slow part of collecting out, and does not wait until the policy holds by
// itself: these tests are about changes.
const short = `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: short}
steps:
  - id: isolate
    isolate: {layers: [netns, netpol, detach, cordon]}
  - id: volatile
    collect: {artifacts: [processes, connections]}
  - id: measure
    measure: {within: 1s}
`

// TestReleaseToService: the fields that irkit touched are as before, of a bare pod and of
// a Deployment's; what others changed since is kept; twice is harmless.
func TestReleaseToService(t *testing.T) {
	c := reset(t)
	for _, name := range []string{"loner", shopPod(t, c).Name} {
		t.Run(strings.Split(name, "-")[0], func(t *testing.T) {
			p := newPerson(t)
			before := getPod(t, c, "prod", name)
			p.runShort(name, "prod").want(t, 0)
			held := getPod(t, c, "prod", name)
			if held.Labels[evidence.LabelQuarantine] == "" || held.Labels["app"] != "" || len(held.OwnerReferences) != 0 {
				t.Fatalf("while contained: labels %v, owners %v", held.Labels, held.OwnerReferences)
			}
			if _, err := c.CoreV1().Pods("prod").Patch(t.Context(), name, "application/merge-patch+json", []byte(`{"metadata":{"labels":{"seen-by":"someone"}}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			p.release(name, "prod", "--to-service").want(t, 0)
			checkNothingOfOurs(t, "prod")
			after, err := c.CoreV1().Pods("prod").Get(t.Context(), name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) && len(before.OwnerReferences) > 0 {
				t.Log("the ReplicaSet had one too many and took this one: the forecast says so")
			} else if err != nil {
				t.Fatal(err)
			} else {
				want := map[string]string{"seen-by": "someone"}
				for k, v := range before.Labels {
					want[k] = v
				}
				if !equalMaps(after.Labels, want) {
					t.Errorf("labels %v, want %v", after.Labels, want)
				}
				if _, ours := after.Annotations[evidence.AnnotationOriginal]; ours {
					t.Error("the undo annotation is still there")
				}
			}
			p.release(name, "prod", "--to-service").want(t, 0)
		})
	}
}

// TestReleaseByDeleting: the pod goes with everything of ours.
func TestReleaseByDeleting(t *testing.T) {
	c := reset(t)
	for _, name := range []string{"loner", shopPod(t, c).Name} {
		t.Run(strings.Split(name, "-")[0], func(t *testing.T) {
			p := newPerson(t)
			p.runShort(name, "prod").want(t, 0)
			p.release(name, "prod", "--delete-pod").want(t, 0)
			eventually(t, 90*time.Second, name+" is gone", func() bool {
				_, err := c.CoreV1().Pods("prod").Get(t.Context(), name, metav1.GetOptions{})
				return apierrors.IsNotFound(err)
			})
			checkNothingOfOurs(t, "prod")
			p.release(name, "prod", "--delete-pod").want(t, 0)
		})
	}
}

// TestAnotherCaseIsRefused: two responders, one pod.
func TestAnotherCaseIsRefused(t *testing.T) {
	reset(t)
	first, second := newPerson(t), newPerson(t)
	first.runShort("loner", "prod", "--case", "first").want(t, 0)
	second.runShort("loner", "prod", "--case", "second").want(t, 6).says(t, "first")
	second.release("loner", "prod", "--to-service").want(t, 6).says(t, "case folder is")
	first.release("loner", "prod", "--to-service").want(t, 0)
}

func (p *person) runShort(pod, namespace string, more ...string) ran {
	p.t.Helper()
	file := p.write("short.yaml", short)
	return p.irkit(append([]string{"run", file, pod, "-n", namespace, "--image", image, "--pull", "Never", "--yes", "-o", "json"}, more...)...)
}
