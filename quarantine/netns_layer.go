package quarantine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

type netnsLayer struct {
	hands    Hands
	want     Want
	baseline []evidence.Probe
	limit    time.Duration
}

// NewNetns is the layer that cuts the target's network inside its own network namespace,
// by the hand beside it. baseline is tried before the cut, limit for all (150 ms when 0).
func NewNetns(h Hands, w Want, baseline []evidence.Probe, limit time.Duration) Layer {
	return &netnsLayer{hands: h, want: w, baseline: baseline, limit: limit}
}

// Traits implements Layer. The hand's own permissions belong to its host.
func (l *netnsLayer) Traits() Traits { return Traits{Name: LayerNetns} }

// Prepare implements Layer.
func (l *netnsLayer) Prepare(s Scene, t evidence.Target) ([]evidence.Change, error) {
	if err := prepared(s, t, l.want, LayerNetns); err != nil {
		return nil, err
	}
	return netnsChange(s, t, l.want), nil
}

func netnsChange(s Scene, t evidence.Target, w Want) []evidence.Change {
	if _, why := unsuited(s, LayerNetns); why != "" || !w.wants(LayerNetns) {
		return nil
	}
	cut := agent.Cut{Case: w.Case, Holes: Holes(s), Allow: w.exceptions(s), NodeAddrs: nodeAddrs(s)}
	return []evidence.Change{{
		ID: LayerNetns + "/cut/pod/" + t.Namespace + "/" + t.Pod + "/" + t.UID, Layer: LayerNetns, Op: evidence.OpCut, Object: podObject(t),
		Before: json.RawMessage("null"), After: encode(cut),
		Why: fmt.Sprintf("drop everything in the pod's network namespace, both ways, but %d holes for the kubelet's probes", len(cut.Holes)),
	}}
}

// Apply implements Layer: the opening move. Its answer is in Result.Opened.
func (l *netnsLayer) Apply(ctx context.Context, c evidence.Change) (Result, error) {
	t, cut, err := cutOf(c)
	if err != nil {
		return Result{}, err
	}
	got, err := l.hands.Open(ctx, t, agent.Opening{Baseline: l.baseline, Limit: l.limit, Cut: &cut})
	if err != nil {
		return Result{}, fmt.Errorf("cut the network of pod %s: %w", t, err)
	}
	return Result{UID: t.UID, Already: got.Again, Opened: &got}, nil
}

// Release implements Layer. An error that wraps agent.ErrGone means that the cut
// stays: it must be named as residue.
func (l *netnsLayer) Release(ctx context.Context, c evidence.Change) (Result, error) {
	t, cut, err := cutOf(c)
	if err != nil {
		return Result{}, err
	}
	if err := l.hands.Lift(ctx, t, cut.Case); err != nil {
		return Result{}, fmt.Errorf("lift the cut from pod %s: %w", t, err)
	}
	return Result{UID: t.UID}, nil
}

func cutOf(c evidence.Change) (evidence.Target, agent.Cut, error) {
	t, err := podTarget(c)
	if err != nil {
		return t, agent.Cut{}, err
	}
	var cut agent.Cut
	if err := json.Unmarshal(c.After, &cut); err != nil {
		return t, cut, fmt.Errorf("read cut of change %s: %w", c.ID, err)
	}
	return t, cut, nil
}
