package playbooks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/evidence"
)

// Hands are the footholds of one session: one beside each regular container, or one
// for all where the pod shares its PID namespace or where it is a node pod, and the probe
// pod. Each is started
// when it is first asked for, once; who asks again gets the same answer, but where the
// start was ended by the context of who asked. Safe for concurrent use.
type Hands struct {
	starter Starter
	pod     *corev1.Pod

	mu    sync.Mutex
	slots map[string]*slot
	left  bool
}

type slot struct {
	ready chan struct{}
	hand  Hand
	err   error
}

// outside is the slot of the probe pod, onNode that of the node pod; no container has
// such a name (RFC 1123).
const (
	outside = "(probe pod)"
	onNode  = "(node pod)"
)

// NewHands prepares the footholds beside a pod; nothing is started.
func NewHands(starter Starter, pod *corev1.Pod) *Hands {
	return &Hands{starter: starter, pod: pod, slots: map[string]*slot{}}
}

func (h *Hands) beside(ctx context.Context, container string) (Hand, error) {
	if sharesPIDs(h.pod) {
		container = h.Containers()[0]
	}
	return h.start(ctx, container, func() (Hand, error) { return h.starter.Beside(ctx, container) })
}

// node is the hand on the target's node, for want of one beside; why says what there was
// against those.
func (h *Hands) node(ctx context.Context, why ...error) (Hand, error) {
	hand, err := h.start(ctx, onNode, func() (Hand, error) { return h.starter.Node(ctx, refusalsOf(why...)) })
	if !errors.Is(err, nodepod.ErrSetup) {
		h.Leftover() // a start that was interrupted may have made it
	}
	if err != nil {
		return nil, errors.Join(append(why, err)...)
	}
	return hand, nil
}

// Cutter is a hand that can make the cut: beside the first regular container that
// lets one start, else on the node.
func (h *Hands) Cutter(ctx context.Context) (Hand, error) {
	if node := h.started(onNode); node != nil {
		return node, nil
	}
	var errs []error
	for _, name := range h.Containers() {
		hand, err := h.beside(ctx, name)
		switch {
		case err == nil && hand.Info().Profile.Cuts():
			return hand, nil
		case err == nil:
			errs = append(errs, fmt.Errorf("hand beside %s: profile %s has no NET_ADMIN%s", name, hand.Info().Profile, refusals(hand.Info().Refused)))
		default:
			errs = append(errs, err)
		}
		if ctx.Err() != nil || sharesPIDs(h.pod) || ofThePod(err) {
			break
		}
	}
	err := errors.Join(errs...)
	if ctx.Err() != nil || errors.Is(err, debugger.ErrReplaced) {
		return nil, err
	}
	return h.node(ctx, errs...)
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

// ofThePod reports a failure that is the same beside every container.
func ofThePod(err error) bool {
	return errors.Is(err, debugger.ErrReplaced) || errors.Is(err, debugger.ErrStaticPod) || errors.Is(err, debugger.ErrUnsupported)
}

// started is the hand in a slot; nil when none stands there now.
func (h *Hands) started(name string) Hand {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.slots[name]; s != nil && s.done() && s.err == nil {
		return s.hand
	}
	return nil
}

func (s *slot) wait(ctx context.Context) (Hand, error) {
	select {
	case <-s.ready:
		return s.hand, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Containers are the names of the regular containers in spec order, and after them those of
// the sidecars: init containers that are restarted, and run as long as the others (KEP-753).
func (h *Hands) Containers() []string { return containersOf(h.pod) }

func containersOf(pod *corev1.Pod) []string {
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			names = append(names, c.Name)
		}
	}
	return names
}

// Ordinal is a container's name inside a bundle: c0, c1, or i0 of an init container, in
// spec order.
func (h *Hands) Ordinal(container string) string { return ordinalOf(h.pod, container) }

func ordinalOf(pod *corev1.Pod, container string) string {
	for i, c := range pod.Spec.Containers {
		if c.Name == container {
			return fmt.Sprintf("c%d", i)
		}
	}
	for i, c := range pod.Spec.InitContainers {
		if c.Name == container {
			return fmt.Sprintf("i%d", i)
		}
	}
	return "pod"
}

// sharesPIDs reports a pod in which one hand sees the processes of all containers.
func sharesPIDs(pod *corev1.Pod) bool {
	return pod.Spec.HostPID || pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace
}

// Started are the hands that stand now, for the record of what was altered: those beside
// the target in spec order, then that on the node, then the probe pod's.
func (h *Hands) Started() []Hand {
	var out []Hand
	for _, name := range append(h.besides(), onNode, outside) {
		if hand := h.started(name); hand != nil {
			out = append(out, hand)
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

// Close ends every hand but the one beside the target that holds the cut, which stays so
// that status can measure and release can lift it, and takes probe pod and node pod away:
// a cut needs no hand to stand.
func (h *Hands) Close(ctx context.Context, keepCutter bool) error {
	var errs []error
	kept := false
	for _, hand := range h.Started() {
		keep := keepCutter && !kept && hand.Info().Profile.Cuts() && hand.Info().Beside != ""
		kept = kept || keep
		if err := hand.Close(ctx, !keep); err != nil {
			errs = append(errs, fmt.Errorf("end hand %s: %w", hand.Info().Container, err))
		}
	}
	h.mu.Lock()
	_, asked := h.slots[outside]
	left := h.left
	h.mu.Unlock()
	if asked {
		errs = append(errs, h.starter.EndProbe(ctx))
	}
	if left {
		errs = append(errs, h.starter.EndNode(ctx))
	}
	return errors.Join(errs...)
}

// Leftover has Close take away the node pod that an earlier run may have left, whether or
// not this one asks for it.
func (h *Hands) Leftover() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = true
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
		if hand.Info().Beside != "" && hand.Info().Container == container {
			return true
		}
	}
	return false
}
