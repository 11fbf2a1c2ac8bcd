package playbooks

import (
	"context"
	"errors"

	"irkit.dev/irkit/agent/debugger"
)

// rungs are the slots of one container's hands, which stand beside it: that of a strong
// profile has the container's own name.
const (
	weakRung    = "(weak) "
	networkRung = "(network) "
)

// Beside is the hand that reads a container, the first of: that on the node, where it
// stands already, since it made the cut and holds what was read before it; one beside the
// container that reads every target; one that reads a target of its own user; one on the
// node; one that sees the pod's network alone. Each is asked for only where admission, or
// the kind of pod, forbids those before it.
func (h *Hands) Beside(ctx context.Context, container string) (Hand, error) {
	if node := h.started(onNode); node != nil {
		return node, nil
	}
	hand, err := h.beside(ctx, container)
	if err == nil && hand.Info().Profile != debugger.P0 || ctx.Err() != nil {
		return hand, err
	}
	if errors.Is(err, debugger.ErrNoProfile) {
		weak, weakErr := h.rung(ctx, weakRung, container, debugger.Weak(), err)
		if weakErr == nil && weak.Info().Profile != debugger.P0 || ctx.Err() != nil {
			return weak, weakErr
		}
		hand, err = weak, weakErr
	}
	if err != nil && !wantsNode(err) {
		return nil, err
	}
	node, nodeErr := h.node(ctx, err)
	if nodeErr == nil || ctx.Err() != nil {
		return node, nodeErr
	}
	if err == nil {
		return hand, nil // it sees the network, and is all that there is
	}
	if errors.Is(err, debugger.ErrNoProfile) {
		if hand, err := h.rung(ctx, networkRung, container, []debugger.Profile{debugger.P0}, nodeErr); err == nil {
			return hand, nil
		}
	}
	return nil, nodeErr
}

// rung is a weaker hand beside one container, for want of those that why says.
func (h *Hands) rung(ctx context.Context, rung, container string, profiles []debugger.Profile, why error) (Hand, error) {
	return h.start(ctx, rung+container, func() (Hand, error) {
		return h.starter.Weaker(ctx, container, profiles, refusalsOf(why))
	})
}

// besides are the slots of all hands beside the target, container by container.
func (h *Hands) besides() []string {
	var names []string
	for _, c := range h.Containers() {
		names = append(names, c, weakRung+c, networkRung+c)
	}
	return names
}
