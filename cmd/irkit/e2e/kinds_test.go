//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/evidence"
)

// kind of container, and what a hand beside it is to give.
type kind struct {
	container corev1.Container
	edit      func(*corev1.Pod)
	level     string // Pod Security that is enforced; empty: none
	profile   debugger.Profile
	trust     evidence.Trust
}

func kinds() map[string]kind {
	yes, no := true, false
	idle := corev1.Container{Image: debug, Command: []string{"sh", "-c", "while :; do sleep 3600; done"}, Env: []corev1.EnvVar{{Name: "KIND", Value: "x"}}}
	with := func(sc *corev1.SecurityContext) corev1.Container {
		c := idle
		c.SecurityContext = sc
		return c
	}
	bare := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	compliant := func(image corev1.Container) corev1.Container {
		image.SecurityContext = &corev1.SecurityContext{
			RunAsUser: new(int64(4711)), RunAsGroup: new(int64(4712)), RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no, Capabilities: bare,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		return image
	}
	scratch := corev1.Container{Image: "lab.local/distroless:1"}
	always := corev1.ContainerRestartPolicyAlways
	return map[string]kind{
		"scratch, its image's user": {container: scratch},
		"busybox, root":             {container: idle},
		"user without runAsNonRoot": {container: with(&corev1.SecurityContext{RunAsUser: new(int64(1000))})},
		"user with runAsNonRoot":    {container: with(&corev1.SecurityContext{RunAsUser: new(int64(1000)), RunAsNonRoot: &yes})},
		"read-only root":            {container: with(&corev1.SecurityContext{ReadOnlyRootFilesystem: &yes})},
		"user namespace":            {container: idle, edit: func(p *corev1.Pod) { p.Spec.HostUsers = &no }},
		"shared process namespace":  {container: idle, edit: func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = &yes }},
		"sidecar": {container: idle, edit: func(p *corev1.Pod) {
			side := idle
			side.Name, side.ImagePullPolicy, side.RestartPolicy = "side", corev1.PullNever, &always
			p.Spec.InitContainers = []corev1.Container{side}
		}},
		"baseline, root":               {container: idle, level: "baseline", profile: debugger.P2, trust: evidence.TrustDebuggerSame},
		"baseline, user":               {container: with(&corev1.SecurityContext{RunAsUser: new(int64(1000)), RunAsGroup: new(int64(1000)), Capabilities: bare}), level: "baseline", profile: debugger.P3, trust: evidence.TrustDebuggerSame},
		"restricted, user":             {container: compliant(idle), level: "restricted", profile: debugger.P3, trust: evidence.TrustDebuggerSame},
		"restricted, scratch and user": {container: compliant(scratch), level: "restricted", profile: debugger.P3, trust: evidence.TrustDebuggerSame},
	}
}

// TestKindsOfContainers reads each kind of image and user: processes, environment and file
// system are there, by the hand that admission lets in, which says what it is worth.
func TestKindsOfContainers(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for _, level := range []string{"baseline", "restricted"} {
		newPerson(t).guarded(t, c, level)
	}
	for name, k := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkKind(t, c, k)
		})
	}
}

func checkKind(t *testing.T, c kubernetes.Interface, k kind) {
	pod := own(t, c, "kind", k.container, func(p *corev1.Pod) {
		p.Namespace = ownNamespace
		if k.level != "" {
			p.Namespace = "e2e-" + k.level
		}
		if k.edit != nil {
			k.edit(p)
		}
	})
	if k.profile == "" {
		k.profile, k.trust = debugger.P1N, evidence.TrustDebugger
	}
	r := newPerson(t).collect(pod).want(t, 0).result(t)
	var env struct {
		Hands []debugger.Info `json:"hands"`
	}
	raw := mustRead(t, filepath.Join(r.Bundle, filepath.FromSlash(evidence.EnvironmentJSON)))
	if err := json.Unmarshal(raw, &env); err != nil || len(env.Hands) == 0 || env.Hands[0].Profile != k.profile {
		t.Fatalf("hands %+v, want %s: %v", env.Hands, k.profile, err)
	}
	if k.level != "" && !bytes.Contains(raw, []byte("violates PodSecurity")) {
		t.Error("admission's words are not in the bundle")
	}
	ordinals := []string{"c0"}
	if len(pod.Spec.InitContainers) > 0 {
		ordinals = append(ordinals, "i0")
	}
	all := entries(t, r.Bundle)
	for _, ordinal := range ordinals {
		for _, kind := range []string{"processes", "connections", "environment", "filesystem"} {
			e := find(t, all, kind, ordinal)
			if e.Status != evidence.Collected && e.Status != evidence.Changed || e.Size == 0 {
				t.Errorf("%s of %s: %s, %d bytes, %q", kind, ordinal, e.Status, e.Size, e.Reason)
			}
			if e.Trust != k.trust && e.Trust != evidence.TrustDebuggerSame {
				t.Errorf("%s of %s: trust %s", kind, ordinal, e.Trust)
			}
		}
		if p := content(t, r.Bundle, find(t, all, "processes", ordinal)); bytes.Contains(p, []byte("kubelet")) {
			t.Error("the processes are not the pod's alone")
		}
	}
}
