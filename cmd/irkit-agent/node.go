package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/worker"
	"irkit.dev/irkit/collectors/inside"
	"irkit.dev/irkit/evidence"
)

// node says that this process sees all of the node's processes, and whom it is for.
type node struct {
	on       bool
	uid      string
	listener int // of the program before; 0: this is it
}

func nodeFlags(f *flag.FlagSet) *node {
	var n node
	f.BoolVar(&n.on, "node", false, "this process sees the node's processes: find the target among them, and work in its network namespace")
	f.StringVar(&n.uid, "pod-uid", "", "the target's UID as its control groups have it")
	f.IntVar(&n.listener, "listener", 0, "the socket's descriptor; only the program itself sets it")
	return &n
}

// enter takes the socket here, and runs the worker in the target's network.
func (n *node) enter(ctx context.Context, key ed25519.PublicKey, container string, args []string, out io.Writer) error {
	if err := worker.Harden(); err != nil {
		return err
	}
	t, err := worker.FindOnNode("/proc", n.uid, container)
	if err != nil {
		return err
	}
	l, err := worker.Listen(key)
	if err != nil {
		return err
	}
	ran := make(chan error, 1)
	go func() { ran <- t.Run(ctx, l, out, append(append([]string{"work"}, args...), "--listener")) }()
	return errors.Join(<-ran, l.Close())
}

// entered completes the worker, once it is in the target's network.
func (n *node) entered(o *worker.Options, container string) error {
	t, err := worker.FindOnNode("/proc", n.uid, container)
	if err != nil {
		return err
	}
	if err := t.Here(); err != nil {
		return err
	}
	l, err := worker.Inherit(n.listener)
	if err != nil {
		return err
	}
	o.Listener, o.TargetPID = l, t.PID
	o.Reader = onNode{reading{inside.New(inside.Options{TargetPID: t.PID, ContainerID: container, Trust: evidence.TrustNode})}, t}
	o.Cutter = newKeeping(guarded{cutting{target: t.PID}, t})
	return nil
}

// onNode reads a target whose process number may become another's.
type onNode struct {
	reading
	target worker.OnNode
}

// Snapshot keeps the tables.
func (r onNode) Snapshot(ctx context.Context) (int, []evidence.Flow, error) {
	if err := r.target.Still(); err != nil {
		return 0, nil, err
	}
	return r.reading.Snapshot(ctx)
}

// Collect reads while the target is still the one that was found. Another container of
// the pod is looked for anew.
func (r onNode) Collect(ctx context.Context, q agent.Request, emit func(agent.Header, io.Reader) error) error {
	if q.ContainerID == "" || q.ContainerID == r.target.ContainerID {
		if err := r.target.Still(); err != nil {
			return fmt.Errorf("collect %s: %w", q.Kind, err)
		}
	}
	return r.reading.Collect(ctx, q, emit)
}

// guarded changes nothing in a network namespace that is the node's.
type guarded struct {
	cutting
	target worker.OnNode
}

// Cut makes the cut.
func (c guarded) Cut(ctx context.Context, cut agent.Cut) (evidence.CutReport, error) {
	if err := c.target.Refuse(); err != nil {
		return evidence.CutReport{}, err
	}
	return c.cutting.Cut(ctx, cut)
}
