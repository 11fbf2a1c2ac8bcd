package actions

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// starter starts hands in a network in memory.
type starter struct {
	nodes      bool                 // node pods may be had
	weaker     func(*handtest.Hand) // nil: none is admitted
	nodesEnded int
	net        *handtest.Net
	refuse     map[string]error // by container; the probe pod is "probe"
	tune       func(*handtest.Hand)

	mu      sync.Mutex
	started []string
	hands   map[string]*handtest.Hand
}

func newStarter() *starter { return &starter{net: handtest.New(), hands: map[string]*handtest.Hand{}} }

func (s *starter) start(name string, h *handtest.Hand) (playbooks.Hand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, name)
	if err := s.refuse[name]; err != nil {
		return nil, err
	}
	if s.tune != nil {
		s.tune(h)
	}
	s.hands[name] = h
	return h, nil
}

func (s *starter) Beside(_ context.Context, container string) (playbooks.Hand, error) {
	return s.start(container, s.net.Beside(container))
}

func (s *starter) Weaker(_ context.Context, container string, profiles []debugger.Profile, refused []debugger.Refusal) (playbooks.Hand, error) {
	if s.weaker == nil {
		return nil, &debugger.NoProfileError{Container: container, Refused: refused}
	}
	h := s.net.Beside(container)
	h.Where.Profile, h.Where.Refused = profiles[len(profiles)-1], refused
	s.weaker(h)
	return s.start(string(h.Where.Profile)+" "+container, h)
}

func (s *starter) Standing(_ context.Context, container string) (playbooks.Hand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hands[container]; h != nil && !slices.Contains(h.Calls(), "end") {
		return h, nil
	}
	return nil, nil
}

func (s *starter) Probe(context.Context) (playbooks.Hand, error) {
	return s.start("probe", s.net.Outside())
}

func (s *starter) EndProbe(context.Context) error { return nil }

func (s *starter) Node(_ context.Context, refused []debugger.Refusal) (playbooks.Hand, error) {
	if !s.nodes {
		return nil, nodepod.ErrSetup
	}
	h := s.net.Node()
	h.Where.Refused = refused
	return s.start("node", h)
}

func (s *starter) EndNode(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodesEnded++
	return nil
}

func targetPod() *corev1.Pod {
	yes := true
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: "web-0", UID: "0c5a9d1e-1111", Labels: map[string]string{"app": "web", "tier": "front"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "rs-1", Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{
			{Name: "app", Image: "web:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
				VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/var/run/secrets"}}},
			{Name: "side", Image: "side:1"},
		}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.7", PodIPs: []corev1.PodIP{{IP: "10.0.0.7"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "app", State: running, ContainerID: "containerd://aa", Ready: true}, {Name: "side", State: running, ContainerID: "containerd://bb", Ready: true},
			},
		},
	}
}

func theTarget() evidence.Target {
	return evidence.Target{ClusterUID: "cluster-1", Namespace: "prod", Pod: "web-0", UID: "0c5a9d1e-1111", Node: "n1"}
}

// listening tells what hands are asked to collect.
type listening struct {
	*starter
	heard func(container string, r agent.Request)
}

func (l listening) Beside(ctx context.Context, container string) (playbooks.Hand, error) {
	h, err := l.starter.Beside(ctx, container)
	return heard{h, l.heard}, err
}

type heard struct {
	playbooks.Hand
	tell func(container string, r agent.Request)
}

func (h heard) Collect(ctx context.Context, r agent.Request, add func(agent.Header, io.Reader) error) error {
	h.tell(h.Info().Beside, r)
	return h.Hand.Collect(ctx, r, add)
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
