// Package objects collects what the API server says of the pod and of what it belongs
// to: the pod with its status and managed fields, its owners, its node, events,
// services, policies, roles, volumes. Values that a bundle keeps out (environment
// literals, data of secrets and configmaps, copies of applied objects) are replaced by
// length and keyed digest before a byte reaches the sink. Secrets are never read
// unless asked for: their names come from the pod's own specification.
package objects

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Options say where to read.
type Options struct {
	Dynamic dynamic.Interface // unstructured, so that fields newer than this program are kept
	HMACKey []byte            // of the case; without it values leave only their length
	// Before is the pod as it stood before containment, which may have taken its
	// owners and labels away; nil: as it stands.
	Before *corev1.Pod
	// ReadSecrets reads the pod's secrets too, for their keys, versions and digests;
	// it needs permission to get them. Else only their names are known.
	ReadSecrets bool
}

// Events collects the events of the namespace, which the API server keeps for an hour
// only (--event-ttl).
type Events struct{ o Options }

// NewEvents makes the collector of events.
func NewEvents(o Options) *Events { return &Events{o} }

// Objects collects everything else.
type Objects struct{ o Options }

// New makes the collector of objects.
func New(o Options) *Objects { return &Objects{o} }

// Traits implements collectors.Collector.
func (c *Events) Traits() collectors.Traits {
	return collectors.Traits{Name: "events", Volatility: collectors.RankEvents, Rules: []evidence.Rule{
		rule("", "events", evidence.InTarget, false, "events of the namespace", "get", "list"),
		rule("events.k8s.io", "events", evidence.InTarget, false, "events of the namespace", "get", "list"),
	}}
}

// Collect implements collectors.Collector.
func (c *Events) Collect(ctx context.Context, t evidence.Target, sink evidence.Sink) error {
	r := &run{Options: c.o, ctx: ctx, t: t, sink: sink}
	r.list(what{"events", core("events"), true, evidence.Restricted, collectors.RankEvents}, nil)
	r.list(what{"events-k8s-io", of("events.k8s.io", "v1", "events"), true, evidence.Restricted, collectors.RankEvents}, nil)
	return r.end("events")
}

// Traits implements collectors.Collector.
func (c *Objects) Traits() collectors.Traits {
	t := collectors.Traits{Name: "objects", Volatility: collectors.RankObjects, Rules: rules()}
	if c.o.ReadSecrets {
		t.Rules = append(t.Rules, rule("", "secrets", evidence.InTarget, false, "keys and digests of the pod's secrets", "get"))
	}
	return t
}

// Collect implements collectors.Collector.
func (c *Objects) Collect(ctx context.Context, t evidence.Target, sink evidence.Sink) error {
	r := &run{Options: c.o, ctx: ctx, t: t, sink: sink}
	pod := r.pod()
	r.get1(what{"namespace", core("namespaces"), false, evidence.Internal, 0}, t.Namespace)
	r.get1(what{"node", core("nodes"), false, evidence.Internal, 0}, t.Node)
	for _, w := range lists() {
		r.list(w, nil)
	}
	if pod == nil {
		pod = c.o.Before
	}
	if pod != nil {
		owners := r.owners(pod)
		r.revisions(owners)
		r.rbac(pod)
		r.volumes(pod)
		r.configuration(pod)
	}
	return r.end("objects")
}

func (r *run) end(name string) error {
	if err := errors.Join(append(r.errs, r.ctx.Err())...); err != nil {
		return fmt.Errorf("collect %s of %s: %w", name, r.t, err)
	}
	return nil
}

// pod files the pod, and returns it with the owners and labels that it had before;
// nil when it cannot be had.
func (r *run) pod() *corev1.Pod {
	w := what{"pod", core("pods"), true, evidence.Restricted, 0}
	if r.ctx.Err() != nil {
		return nil
	}
	o, err := r.get(w, r.t.Pod)
	if err == nil && string(o.GetUID()) != r.t.UID {
		a := r.artifact(w, r.path(w, r.t.Pod))
		a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: fmt.Sprintf("a pod of this name has UID %s, the target has %s", o.GetUID(), r.t.UID)}
		r.add(a, nil)
		return nil
	}
	if err != nil {
		r.absent(w, r.path(w, r.t.Pod), err)
		return nil
	}
	r.objects(w, r.path(w, r.t.Pod), []*unstructured.Unstructured{o})
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, pod); err != nil {
		r.errs = append(r.errs, fmt.Errorf("decode pod %s: %w", r.t, err))
		return nil
	}
	if r.Before != nil && string(r.Before.UID) == r.t.UID {
		pod.OwnerReferences = append(pod.OwnerReferences, r.Before.OwnerReferences...)
	}
	return pod
}

func (r *run) get1(w what, name string) {
	if name != "" {
		r.gets(w, []string{name})
	}
}

func lists() []what {
	return []what{
		{"services", core("services"), true, evidence.Internal, 0},
		{"endpointslices", of("discovery.k8s.io", "v1", "endpointslices"), true, evidence.Internal, 0},
		{"networkpolicies", of("networking.k8s.io", "v1", "networkpolicies"), true, evidence.Internal, 0},
		{"ingresses", of("networking.k8s.io", "v1", "ingresses"), true, evidence.Internal, 0},
		{"poddisruptionbudgets", of("policy", "v1", "poddisruptionbudgets"), true, evidence.Internal, 0},
	}
}

func rule(group, resource string, s evidence.Scope, required bool, why string, verbs ...string) evidence.Rule {
	return evidence.Rule{Group: group, Resource: resource, Verbs: verbs, Scope: s, Required: required, Why: why}
}

// rules are what Objects reads; only the pod itself is required.
func rules() []evidence.Rule {
	rs := []evidence.Rule{rule("", "pods", evidence.InTarget, true, "the pod itself", "get")}
	for _, w := range lists() {
		rs = append(rs, rule(w.gvr.Group, w.gvr.Resource, evidence.InTarget, false, "what selects the pod, or could", "list"))
	}
	for _, r := range []string{"deployments", "replicasets", "statefulsets", "daemonsets"} {
		rs = append(rs, rule("apps", r, evidence.InTarget, false, "owners of the pod", "get"))
	}
	return append(rs,
		rule("batch", "jobs", evidence.InTarget, false, "owners of the pod", "get"),
		rule("batch", "cronjobs", evidence.InTarget, false, "owners of the pod", "get"),
		rule("", "replicationcontrollers", evidence.InTarget, false, "owners of the pod", "get"),
		rule("apps", "controllerrevisions", evidence.InTarget, false, "earlier templates of the pod", "list"),
		rule("", "serviceaccounts", evidence.InTarget, false, "the pod's account", "get"),
		rule("", "configmaps", evidence.InTarget, false, "names, keys and digests of the pod's configuration", "get"),
		rule("", "persistentvolumeclaims", evidence.InTarget, false, "the pod's volumes", "get"),
		rule("", "persistentvolumes", evidence.InCluster, false, "the pod's volumes", "get"),
		rule("rbac.authorization.k8s.io", "rolebindings", evidence.InTarget, false, "what the pod's account may do", "list"),
		rule("rbac.authorization.k8s.io", "roles", evidence.InTarget, false, "what the pod's account may do", "get"),
		rule("rbac.authorization.k8s.io", "clusterrolebindings", evidence.InCluster, false, "what the pod's account may do", "list"),
		rule("rbac.authorization.k8s.io", "clusterroles", evidence.InCluster, false, "what the pod's account may do", "get"),
		rule("", "namespaces", evidence.InCluster, false, "labels that policies select on", "get"),
		rule("", "nodes", evidence.InCluster, false, "where the pod runs", "get"),
	)
}
