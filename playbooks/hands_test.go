package playbooks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/agent/nodepod"
)

// starter starts hands in a network in memory.
type starter struct {
	net    *handtest.Net
	refuse func(container string) error // nil: all start; the probe pod is "probe"

	mu      sync.Mutex
	started []string
	hands   map[string]*handtest.Hand
	ended   bool
	nodes   int // that were ended
}

func newStarter() *starter { return &starter{net: handtest.New(), hands: map[string]*handtest.Hand{}} }

func (s *starter) start(ctx context.Context, name string, h *handtest.Hand) (Hand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, name)
	if s.refuse != nil {
		if err := s.refuse(name); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.hands[name] = h
	return h, nil
}

func (s *starter) Beside(ctx context.Context, container string) (Hand, error) {
	return s.start(ctx, container, s.net.Beside(container))
}

func (s *starter) Weaker(ctx context.Context, container string, profiles []debugger.Profile, refused []debugger.Refusal) (Hand, error) {
	h := s.net.Beside(container)
	h.Where.Profile, h.Where.Refused = profiles[len(profiles)-1], refused
	return s.start(ctx, string(h.Where.Profile)+" "+container, h)
}

func (s *starter) Standing(_ context.Context, container string) (Hand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hands[container]; h != nil && !slices.Contains(h.Calls(), "end") {
		return h, nil
	}
	return nil, nil
}

func (s *starter) Probe(ctx context.Context) (Hand, error) {
	return s.start(ctx, "probe", s.net.Outside())
}

func (s *starter) EndProbe(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return nil
}

func (s *starter) Node(ctx context.Context, refused []debugger.Refusal) (Hand, error) {
	h := s.net.Node()
	h.Where.Refused = refused
	return s.start(ctx, "node", h)
}

func (s *starter) EndNode(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes++
	return nil
}

func TestAHandIsStartedOnceWhoeverAsks(t *testing.T) {
	s := newStarter()
	h := NewHands(s, pod())
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			var err error
			switch i % 4 {
			case 0:
				_, err = h.Beside(t.Context(), "app")
			case 1:
				_, err = h.Beside(t.Context(), "side")
			case 2:
				_, err = h.Cutter(t.Context())
			case 3:
				_, err = h.Probe(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	slices.Sort(s.started)
	if want := []string{"app", "probe", "side"}; !slices.Equal(s.started, want) {
		t.Errorf("started %q, want %q", s.started, want)
	}
	var names []string
	for _, hand := range h.Started() {
		names = append(names, hand.Info().Container)
	}
	if want := []string{"irkit-app", "irkit-side", "probe"}; !slices.Equal(names, want) {
		t.Errorf("standing %q, want %q", names, want)
	}
	if !h.Ours("irkit-side") || h.Ours("side") {
		t.Error("our own containers are not told from the target's")
	}
	if err := h.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"app": "leave", "side": "end", "probe": "end"} {
		if calls := s.hands[name].Calls(); !slices.Equal(calls, []string{want}) {
			t.Errorf("%s: %q, want %s", name, calls, want)
		}
	}
	if !s.ended {
		t.Error("the probe pod stays")
	}
}

func TestOneHandForASharedPIDNamespace(t *testing.T) {
	yes, p := true, pod()
	p.Spec.ShareProcessNamespace = &yes
	s := newStarter()
	h := NewHands(s, p)
	a, err1 := h.Beside(t.Context(), "app")
	b, err2 := h.Beside(t.Context(), "side")
	c, err3 := h.Cutter(t.Context())
	if err := errors.Join(err1, err2, err3); err != nil || a != b || b != c || len(s.started) != 1 {
		t.Errorf("started %q, %v", s.started, err)
	}
	if err := h.Close(t.Context(), false); err != nil || s.ended {
		t.Errorf("%v; a probe pod that nobody asked for is ended: %v", err, s.ended)
	}
}

func TestTheCutterIsTheFirstHandThatCanCut(t *testing.T) {
	s := newStarter()
	s.refuse = func(name string) error {
		if name == "app" {
			return errors.New("no room on the node")
		}
		return nil
	}
	h := NewHands(s, pod())
	got, err := h.Cutter(t.Context())
	if err != nil || got.Info().Beside != "side" {
		t.Fatalf("%v, %v", got, err)
	}
	weak := newStarter()
	weak.refuse = func(name string) error {
		if name == "node" {
			return nodepod.ErrSetup
		}
		return nil
	}
	weakHands := NewHands(weaker{weak}, pod())
	_, err = weakHands.Cutter(t.Context())
	if err == nil || !strings.Contains(err.Error(), "hand beside app: profile P1 has no NET_ADMIN; P1N: forbidden by policy") || !strings.Contains(err.Error(), "hand beside side") {
		t.Errorf("%v", err)
	}
	if err := weakHands.Lift(t.Context(), target(), "c-1"); !errors.Is(err, agent.ErrGone) {
		t.Errorf("lifting without a hand that can: %v", err)
	}
	// With none that cuts, none is kept.
	if err := weakHands.Close(t.Context(), true); err != nil {
		t.Error(err)
	}
	if weak.nodes != 0 {
		t.Error("a node pod that could not be made is ended")
	}
	for name, hand := range weak.hands {
		if calls := hand.Calls(); !slices.Equal(calls, []string{"end"}) {
			t.Errorf("%s: %q", name, calls)
		}
	}
}

// weaker starts hands that may not cut.
type weaker struct{ *starter }

func (w weaker) Beside(ctx context.Context, container string) (Hand, error) {
	h := w.net.Beside(container)
	h.Where.Profile, h.Where.Refused = debugger.P1, []debugger.Refusal{{Profile: debugger.P1N, Reason: "forbidden by policy"}}
	return w.start(ctx, container, h)
}

// A step's own time limit ends its wait, and does not take the hand from the steps after it.
func TestAStartThatWasCutShortMayBeTriedAgain(t *testing.T) {
	s := newStarter()
	h := NewHands(s, pod())
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := h.Beside(ctx, "app"); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if _, err := h.Beside(t.Context(), "app"); err != nil {
		t.Errorf("the next step: %v", err)
	}
	// A refusal by the cluster is an answer for all.
	s.refuse = func(string) error { return errors.New("forbidden") }
	for range 2 {
		if _, err := h.Beside(t.Context(), "side"); err == nil || err.Error() != "forbidden" {
			t.Errorf("%v", err)
		}
	}
	if want := []string{"app", "app", "side"}; !slices.Equal(s.started, want) {
		t.Errorf("started %q, want %q", s.started, want)
	}
}

func TestEveryHandIsEndedAlsoAfterAnError(t *testing.T) {
	s := newStarter()
	h := NewHands(s, pod())
	for _, name := range h.Containers() {
		if _, err := h.Beside(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	s.hands["app"].Fail = func(string) error { return errors.New("no answer") }
	err := h.Close(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "irkit-app") || !slices.Equal(s.hands["side"].Calls(), []string{"end"}) {
		t.Errorf("%v, %q", err, s.hands["side"].Calls())
	}
}

func TestNames(t *testing.T) {
	h := NewHands(newStarter(), pod())
	if a, b, c := h.Ordinal("app"), h.Ordinal("side"), h.Ordinal("none"); a != "c0" || b != "c1" || c != "pod" {
		t.Error(a, b, c)
	}
	always := corev1.ContainerRestartPolicyAlways
	h.pod.Spec.InitContainers = []corev1.Container{{Name: "setup"}, {Name: "proxy", RestartPolicy: &always}}
	if want := []string{"app", "side", "proxy"}; !slices.Equal(h.Containers(), want) || h.Ordinal("proxy") != "i1" {
		t.Errorf("%q, %s", h.Containers(), h.Ordinal("proxy"))
	}
	if _, err := (nobody{}).Do(t.Context(), change("a"), nil); err == nil {
		t.Error("who may not write wrote")
	}
}
