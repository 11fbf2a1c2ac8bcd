package playbooks

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
)

// Snapshots says that a plan takes snapshots of the target's volumes, and of which class;
// empty: the driver's own.
type Snapshots struct {
	Class string
}

// NeedsHand reports that a plan starts processes of ours, beside the target or outside.
func (p *Plan) NeedsHand() bool {
	return slices.ContainsFunc(p.Blueprints, func(b Blueprint) bool { n := b.Needs(); return n.Hand || n.Probe })
}

// hasClaims reports volumes that a snapshot could be had of. Where there are none, nobody
// is asked for anything.
func hasClaims(pod *corev1.Pod) bool {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			return true
		}
	}
	return false
}

// storage asks with this connection.
func (e *Engine) storage() csi.Cluster {
	return csi.Cluster{Client: e.Conn.Client, Dynamic: e.Conn.Dynamic}
}

// surveyVolumes reads what is behind the target's volumes.
func (e *Engine) surveyVolumes(ctx context.Context, o Order, want *Snapshots) ([]csi.Volume, error) {
	if want == nil || o.Pod == nil {
		return nil, nil
	}
	return e.storage().Survey(ctx, o.Pod, want.Class)
}

// snapshotChanges are the writes that the snapshots of these volumes take.
func snapshotChanges(o Order, volumes []csi.Volume) ([]evidence.Change, error) {
	var out []evidence.Change
	for _, v := range volumes {
		if v.Why != "" {
			continue
		}
		c, err := v.Change(o.Target, o.Case)
		if err != nil {
			return nil, fmt.Errorf("plan the snapshots: %w", err)
		}
		out = append(out, c)
	}
	return out, nil
}
