//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"irkit.dev/irkit/evidence"
)

// served are the kinds of deny that no plugin of the lab acts on.
func served() map[string]schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"GlobalNetworkPolicy":  {Group: "projectcalico.org", Version: "v3", Resource: "globalnetworkpolicies"},
		"ClusterNetworkPolicy": {Group: "policy.networking.k8s.io", Version: "v1alpha2", Resource: "clusternetworkpolicies"},
	}
}

// TestDenyWhereOnlyTheAPIIsServed: Calico's and the network-policy-api's kinds are served
// and nobody acts on them. The plan says so, the responder's rights are enough to write
// them, and release takes them away. Alone in the cluster: others would write them too.
func TestDenyWhereOnlyTheAPIIsServed(t *testing.T) {
	c, api := cluster(t), serve(t)
	pod := small(t, c)
	p := newPerson(t)
	const caseID = "case-served"
	said := p.irkit("plan", pod.Name, "-n", ownNamespace, "--case", caseID, "--image", image, "--pull", "Never", "--skip", "netns,cordon", "-o", "json").want(t, 0)
	for kind, gvr := range served() {
		said.says(t, "deny-not-enforced", kind+" of "+gvr.Group+" is written, since the cluster serves it, but nothing shows that ")
	}
	file := p.write("by-policy.yaml", strings.Replace(byPolicy, "LAYERS", "netpol, deny, detach", 1))
	v := p.irkit("run", file, pod.Name, "-n", ownNamespace, "--case", caseID, "--image", image, "--pull", "Never", "--yes", "-o", "json").result(t).Verdict
	if i := slices.IndexFunc(v.Layers, func(l evidence.LayerVerdict) bool { return l.Layer == "deny" }); i < 0 || !v.Layers[i].Applied {
		t.Fatalf("the layer deny was not applied: %+v", v.Layers)
	} else if l := v.Layers[i]; bridge() && (l.Out == evidence.Contained || l.In == evidence.Contained) {
		t.Errorf("contained by what nobody acts on: %+v", l)
	}
	of := metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID}
	for kind, gvr := range served() {
		l, err := api.Resource(gvr).List(t.Context(), of)
		if err != nil || len(l.Items) != 1 {
			t.Fatalf("%s: %d stored, %v", kind, len(l.Items), err)
		}
		if spec, _, _ := unstructured.NestedMap(l.Items[0].Object, "spec"); len(spec) == 0 || spec["ingress"] == nil || spec["egress"] == nil {
			t.Errorf("%s is stored as %v", kind, l.Items[0].Object)
		}
	}
	p.release(pod.Name, ownNamespace, "--to-service").want(t, 0)
	for kind, gvr := range served() {
		if l, err := api.Resource(gvr).List(t.Context(), of); err != nil || len(l.Items) != 0 {
			t.Errorf("%s after release: %d stored, %v", kind, len(l.Items), err)
		}
	}
	noneOfCase(t, c, caseID)
}

// serve lets the cluster serve these kinds for the time of a test.
func serve(t *testing.T) dynamic.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	api := dynamic.NewForConfigOrDie(cfg)
	disco := cluster(t).Discovery()
	listed := func(group string) bool {
		groups, err := disco.ServerGroups()
		return err != nil || slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == group })
	}
	definitions := api.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for kind, gvr := range served() {
		name := gvr.Resource + "." + gvr.Group
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			if err := definitions.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
			eventually(t, time.Minute, kind+" is served no more", func() bool {
				_, err := definitions.Get(ctx, name, metav1.GetOptions{})
				return apierrors.IsNotFound(err) && !listed(gvr.Group)
			})
		})
		if _, err := definitions.Create(t.Context(), definition(kind, gvr), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	for kind, gvr := range served() {
		eventually(t, time.Minute, kind+" is served", func() bool {
			if !listed(gvr.Group) {
				return false
			}
			_, err := api.Resource(gvr).List(t.Context(), metav1.ListOptions{Limit: 1})
			return err == nil
		})
	}
	return api
}

// definition takes any specification: what irkit writes is held against the kinds' own
// text by unit tests.
func definition(kind string, gvr schema.GroupVersionResource) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": gvr.Resource + "." + gvr.Group, "annotations": map[string]any{
			"api-approved.kubernetes.io": "unapproved, for a test",
		}},
		"spec": map[string]any{
			"group": gvr.Group, "scope": "Cluster",
			"names": map[string]any{"kind": kind, "plural": gvr.Resource, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{"name": gvr.Version, "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
				}},
			}}},
		},
	}}
}
