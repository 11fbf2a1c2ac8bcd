package playbooks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/evidence"
)

// Hands are the footholds of one session: one beside each regular container, or one
// for all where the pod shares its PID namespace, and the probe pod. Each is started
// when it is first asked for, once; who asks again gets the same answer, but where the
// start was ended by the context of who asked. Safe for concurrent use.
type Hands struct {
	starter Starter
	pod     *corev1.Pod

	mu    sync.Mutex
	slots map[string]*slot
}

type slot struct {
	ready chan struct{}
	hand  Hand
	err   error
}

// outside is the slot of the probe pod; no container has that name (RFC 1123).
const outside = "(probe pod)"

// NewHands prepares the footholds beside a pod; nothing is started.
func NewHands(starter Starter, pod *corev1.Pod) *Hands {
	return &Hands{starter: starter, pod: pod, slots: map[string]*slot{}}
}

// Beside is the hand beside a regular container.
func (h *Hands) Beside(ctx context.Context, container string) (Hand, error) {
	if sharesPIDs(h.pod) {
		container = h.Containers()[0]
	}
	return h.start(ctx, container, func() (Hand, error) { return h.starter.Beside(ctx, container) })
}

// Cutter is a hand that can make the cut: beside the first regular container that
// lets one start.
func (h *Hands) Cutter(ctx context.Context) (Hand, error) {
	var errs []error
	for _, name := range h.Containers() {
		hand, err := h.Beside(ctx, name)
		switch {
		case err == nil && hand.Info().Profile.Cuts():
			return hand, nil
		case err == nil:
			errs = append(errs, fmt.Errorf("hand beside %s: profile %s has no NET_ADMIN%s", name, hand.Info().Profile, refusals(hand.Info().Refused)))
		default:
			errs = append(errs, err)
		}
		if ctx.Err() != nil || sharesPIDs(h.pod) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func refusals(all []debugger.Refusal) string {
	var s string
	for _, r := range all {
		s += fmt.Sprintf("; %s: %s", r.Profile, r.Reason)
	}
	return s
}

// Probe is the hand in the probe pod, outside of the target.
func (h *Hands) Probe(ctx context.Context) (Hand, error) {
	return h.start(ctx, outside, func() (Hand, error) { return h.starter.Probe(ctx) })
}

func (h *Hands) start(ctx context.Context, name string, start func() (Hand, error)) (Hand, error) {
	h.mu.Lock()
	s, there := h.slots[name]
	if !there {
		s = &slot{ready: make(chan struct{})}
		h.slots[name] = s
	}
	h.mu.Unlock()
	if there {
		return s.wait(ctx)
	}
	s.hand, s.err = start()
	if s.err != nil && ctx.Err() != nil {
		h.mu.Lock()
		delete(h.slots, name) // a step's time was over: the next step may still have it
		h.mu.Unlock()
	}
	close(s.ready)
	return s.hand, s.err
}

func (s *slot) wait(ctx context.Context) (Hand, error) {
	select {
	case <-s.ready:
		return s.hand, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Containers are the regular containers' names in spec order.
func (h *Hands) Containers() []string {
	var names []string
	for _, c := range h.pod.Spec.Containers {
		names = append(names, c.Name)
	}
	return names
}

// Ordinal is a container's name inside a bundle: c0, c1, in spec order.
func (h *Hands) Ordinal(container string) string {
	for i, c := range h.pod.Spec.Containers {
		if c.Name == container {
			return fmt.Sprintf("c%d", i)
		}
	}
	return "pod"
}

// sharesPIDs reports a pod in which one hand sees the processes of all containers.
func sharesPIDs(pod *corev1.Pod) bool {
	return pod.Spec.HostPID || pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace
}

// Started are the hands that stand now, for the record of what was altered: those beside
// the target in spec order, then the probe pod's.
func (h *Hands) Started() []Hand {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Hand
	for _, name := range append(h.Containers(), outside) {
		if s := h.slots[name]; s != nil && s.done() && s.err == nil {
			out = append(out, s.hand)
		}
	}
	return out
}

func (s *slot) done() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Close ends every hand but the one that holds the cut, which stays so that status
// can measure and release can lift it, and takes the probe pod away.
func (h *Hands) Close(ctx context.Context, keepCutter bool) error {
	var errs []error
	kept := false
	for _, hand := range h.Started() {
		keep := keepCutter && !kept && hand.Info().Profile.Cuts()
		kept = kept || keep
		if err := hand.Close(ctx, !keep); err != nil {
			errs = append(errs, fmt.Errorf("end hand %s: %w", hand.Info().Container, err))
		}
	}
	h.mu.Lock()
	_, asked := h.slots[outside]
	h.mu.Unlock()
	if asked {
		errs = append(errs, h.starter.EndProbe(ctx))
	}
	return errors.Join(errs...)
}

// Open implements quarantine.Hands: the opening move, with the hand that can cut.
func (h *Hands) Open(ctx context.Context, _ evidence.Target, o agent.Opening) (agent.Opened, error) {
	hand, err := h.Cutter(ctx)
	if err != nil {
		return agent.Opened{}, err
	}
	return hand.Open(ctx, o)
}

// Lift implements quarantine.Hands: with the hand that stands, else with a new one.
func (h *Hands) Lift(ctx context.Context, _ evidence.Target, caseID string) error {
	hand, err := h.Cutter(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", agent.ErrGone, err)
	}
	return hand.Lift(ctx, caseID)
}

// Ours reports a container that is one of this session's hands.
func (h *Hands) Ours(container string) bool {
	for _, hand := range h.Started() {
		if hand.Info().Container == container {
			return true
		}
	}
	return false
}
