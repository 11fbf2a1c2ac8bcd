package quarantine

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// TryDelete sends the DELETE of DeleteTarget with dryRun=All. Harmless when the pod is gone.
func TryDelete(ctx context.Context, conn *cluster.Conn, t evidence.Target) error {
	if err := sendDelete(ctx, conn, t, trying(t)); !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

func sendDelete(ctx context.Context, conn *cluster.Conn, t evidence.Target, how sending) error {
	err := cluster.Persist(ctx, func() error {
		return conn.Client.CoreV1().Pods(t.Namespace).Delete(ctx, t.Pod, how.delete(types.UID(t.UID)))
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return conn.Explain("delete pod "+t.String(), err)
	}
	return err
}

// DeleteTarget deletes the pod, with its UID as precondition, and waits until it is gone,
// as long as its own grace period and 15 s more. Harmless when it is gone already.
func DeleteTarget(ctx context.Context, conn *cluster.Conn, t evidence.Target) error {
	p, err := conn.Live(ctx, t)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = sendDelete(ctx, conn, t, sending{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	grace := 30 * time.Second
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = time.Duration(*g) * time.Second
	}
	deadline := time.NewTimer(grace + 15*time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := conn.Live(ctx, t); gone(err) {
			return nil
		} else if err != nil && !cluster.Transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("delete pod %s: still there after its grace period of %s", t, grace)
		case <-tick.C:
		}
	}
}
