//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"irkit.dev/irkit/evidence"
)

func mergePod(t *testing.T, c kubernetes.Interface, name string, fields map[string]any) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods(ownNamespace).Patch(t.Context(), name, types.MergePatchType, b, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestReleaseFromAnotherLaptop: without the case folder nothing is done unless that is said;
// whose word the annotation is, is told; and then the pod is as before.
func TestReleaseFromAnotherLaptop(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	was := workload(t, c, "Pod", "far", 1)
	first, second := newPerson(t), newPerson(t)
	r := first.runSwift(was, "--case", "far-1").want(t, 0).result(t)
	signers := filepath.Join(r.Bundle, "seal", "allowed_signers")
	note := getPod(t, c, ownNamespace, was.Name).Annotations[evidence.AnnotationOriginal]

	second.release(was.Name, ownNamespace, "--to-service").want(t, 6).
		says(t, "UNCHECKED", "+ metadata.labels.app: far", "nothing was changed", "case folder is", "--force")
	second.release(was.Name, ownNamespace, "--to-service", "--signers", signers).want(t, 6).says(t, "SIGNED", "nothing was changed")
	foreign := second.write("foreign", "kim@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7D8nH4e1sGo8S3m0J4XWbqgPZyD4l5yqk7dXgkqO9d\n")
	second.release(was.Name, ownNamespace, "--to-service", "--signers", foreign).want(t, 6).says(t, "FOREIGN", "not among the signers", "+ metadata.labels.app: far")
	mergePod(t, c, was.Name, map[string]any{"annotations": map[string]string{evidence.AnnotationOriginal: strings.ReplaceAll(note, `app\":\"far\"`, `app\":\"bank\"`)}})
	second.release(was.Name, ownNamespace, "--to-service", "--signers", signers).want(t, 6).says(t, "BROKEN", "does not hold", "+ metadata.labels.app: bank")
	mergePod(t, c, was.Name, map[string]any{"annotations": map[string]string{evidence.AnnotationOriginal: note}})
	unheard(t, was)

	out := second.release(was.Name, ownNamespace, "--to-service", "--signers", signers, "--force", "-o", "json").want(t, 0)
	var said struct {
		Case       string `json:"case"`
		Annotation struct{ Origin, Signer string }
		Residue    []string
	}
	if err := json.Unmarshal([]byte(out.stdout), &said); err != nil || said.Case != "far-1" || said.Annotation.Origin != "signed" || len(said.Residue) == 0 {
		t.Errorf("%+v, %v", said, err)
	}
	checkUntouched(t, c, was, "far-1")
	eventually(t, 90*time.Second, "the pod talks again", func() bool { return time.Since(heard(t, was.Status.PodIP)) < 2*time.Second })
	found, err := filepath.Glob(filepath.Join(second.home, "irkit", "cases", "far-1", "irkit-far-1-*", "bagit.txt"))
	if err != nil || len(found) != 1 {
		t.Fatalf("bundles of the release: %q, %v", found, err)
	}
	second.irkit("verify", filepath.Dir(found[0])).want(t, 0).says(t, "integrity  ok")
	if err := verifyStock(t, filepath.Dir(found[0])); err != nil {
		t.Error(err)
	}
	if log := second.log(t); !strings.Contains(log, `"undo_annotation"`) || !strings.Contains(log, `"adopted"`) {
		t.Error("the custody log does not say what was taken over, and from where")
	}
	// Twice is harmless, and so is the release by who contained it.
	second.release(was.Name, ownNamespace, "--to-service").want(t, 0)
	first.release(was.Name, ownNamespace, "--to-service").want(t, 0)
	checkUntouched(t, c, was, "far-1")
}

// TestReleaseAfterOthersEdited: what others changed while the pod was contained stays, and
// is told; everything else is as before.
func TestReleaseAfterOthersEdited(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	was := workload(t, c, "Pod", "edited", 1)
	mergePod(t, c, was.Name, map[string]any{"labels": map[string]string{"tier": "front", "team": "blue"}})
	p := newPerson(t)
	r := p.runSwift(was).want(t, 0).result(t)
	policies := c.NetworkingV1().NetworkPolicies(ownNamespace)
	name := "irkit-quarantine-" + r.Case
	if _, err := policies.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"egress":[{}]}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	kept, err := c.CoreV1().ConfigMaps(ownNamespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "edited-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.CoreV1().ConfigMaps(ownNamespace).Delete(context.WithoutCancel(t.Context()), kept.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	mergePod(t, c, was.Name, map[string]any{
		"labels":          map[string]any{"app": "else", "extra": "1", evidence.LabelQuarantine: nil},
		"annotations":     map[string]any{"seen-by": "someone", evidence.AnnotationOriginal: nil},
		"ownerReferences": []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: kept.Name, UID: kept.UID}},
	})
	unheard(t, was)
	p.release(was.Name, ownNamespace, "--to-service").want(t, 0).says(t, "kept", "app was set to", "had been changed since")
	now := getPod(t, c, ownNamespace, was.Name)
	if !equalMaps(now.Labels, map[string]string{"app": "else", "extra": "1", "tier": "front", "team": "blue"}) || now.Annotations["seen-by"] != "someone" ||
		len(now.OwnerReferences) != 1 || now.OwnerReferences[0].UID != kept.UID {
		t.Errorf("labels %v, annotations %v, owners %v", now.Labels, now.Annotations, now.OwnerReferences)
	}
	if _, err := policies.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the policy: %v", err)
	}
	noneOfCase(t, c, r.Case)
}

// TestTwoPodsOfOneCase: the policy that both are held by goes with the last of them.
func TestTwoPodsOfOneCase(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	one, two := workload(t, c, "Pod", "pair-a", 1), workload(t, c, "Pod", "pair-b", 1)
	first, second := newPerson(t), newPerson(t)
	first.runSwift(one, "--case", "pair").want(t, 0)
	second.runSwift(two, "--case", "pair").want(t, 0)
	first.release(one.Name, ownNamespace, "--to-service").want(t, 0).says(t, "stays: pod "+two.Name)
	if _, err := c.NetworkingV1().NetworkPolicies(ownNamespace).Get(t.Context(), "irkit-quarantine-pair", metav1.GetOptions{}); err != nil {
		t.Errorf("the policy that the other pod is held by: %v", err)
	}
	unheard(t, two)
	second.release(two.Name, ownNamespace, "--to-service").want(t, 0)
	checkUntouched(t, c, one, "pair")
	checkUntouched(t, c, two, "pair")
}

// TestUnknownController: a controller that irkit does not know keeps its pod, and labels it
// again at once. The mark and the cut hold all the same; at release what it wrote stays.
func TestUnknownController(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	widget := newWidget(t)
	was := workload(t, c, "Pod", "widget", 1)
	yes := true
	mergePod(t, c, was.Name, map[string]any{"ownerReferences": []metav1.OwnerReference{{
		APIVersion: widget.GetAPIVersion(), Kind: widget.GetKind(), Name: widget.GetName(), UID: widget.GetUID(), Controller: &yes}}})
	was = getPod(t, c, ownNamespace, was.Name)
	stop, again := relabels(t, c, was)
	defer stop()
	p := newPerson(t)
	r := p.runSwift(was)
	if r.code != 0 && r.code != 5 { // whether the fight over its labels lowers the verdict is the verdict's to say
		t.Fatalf("exit %d", r.code)
	}
	res := r.result(t)
	if said := foresaw(t, res.Bundle, "unknown-controller"); !strings.Contains(said, "Widget/"+widget.GetName()) {
		t.Errorf("the forecast does not name the controller: %s", said)
	}
	eventually(t, 90*time.Second, "the controller labels its pod again", func() bool { return again() > 0 })
	held := getPod(t, c, ownNamespace, was.Name)
	if controllerOf(held) != "Widget" || held.Labels[evidence.LabelQuarantine] != res.Case {
		t.Errorf("while contained: labels %v, owners %v", held.Labels, held.OwnerReferences)
	}
	unheard(t, was)
	p.release(was.Name, ownNamespace, "--to-service").want(t, 0)
	checkUntouched(t, c, was, res.Case)
}

// newWidget is an object of a kind that no part of Kubernetes knows.
func newWidget(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	d := dynamic.NewForConfigOrDie(cfg)
	crds := d.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	crd := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.e2e.irkit.dev"},
		"spec":{"group":"e2e.irkit.dev","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`), crd); err != nil {
		t.Fatal(err)
	}
	if _, err := crds.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := crds.Delete(context.WithoutCancel(t.Context()), "widgets.e2e.irkit.dev", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	w := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "e2e.irkit.dev/v1", "kind": "Widget", "metadata": map[string]any{"name": "one", "namespace": ownNamespace}}}
	widgets := d.Resource(schema.GroupVersionResource{Group: "e2e.irkit.dev", Version: "v1", Resource: "widgets"}).Namespace(ownNamespace)
	var made *unstructured.Unstructured
	eventually(t, 90*time.Second, "the kind is served", func() bool {
		made, err = widgets.Create(t.Context(), w, metav1.CreateOptions{})
		return err == nil
	})
	return made
}

// relabels is the controller: it puts its label back on its pod whenever that is gone. again
// says how often it did.
func relabels(t *testing.T, c kubernetes.Interface, pod *corev1.Pod) (stop func(), again func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all sync.WaitGroup
	n := 0
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": pod.Labels}})
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(200 * time.Millisecond)
			now, err := c.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
			if err != nil || now.Labels["app"] == pod.Labels["app"] {
				continue
			}
			if _, err := c.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err == nil {
				mu.Lock()
				n++
				mu.Unlock()
			}
		}
	})
	return func() { cancel(); all.Wait() }, func() int { mu.Lock(); defer mu.Unlock(); return n }
}
