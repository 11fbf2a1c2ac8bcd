package cluster

import (
	"context"
	"fmt"

	"irkit.dev/irkit/lab/addons"
	"irkit.dev/irkit/lab/apply"
	"irkit.dev/irkit/lab/daemons"
	"irkit.dev/irkit/lab/images"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

// start runs the daemons, each as early as what it needs is there.
func (l Lab) start(ctx context.Context, setup daemons.Setup) error {
	if err := l.run(ctx, setup.Etcd(), setup.APIServer(), setup.Containerd(),
		setup.Forwarder(), setup.Store(), setup.CommandServer(), setup.Bystander()); err != nil {
		return err
	}
	containerd := images.Containerd{Socket: l.Layout.ContainerdSocket(), Parts: setup.Parts}
	if err := l.until(ctx, "containerd", containerd.Answers); err != nil {
		return err
	}
	if _, err := containerd.Load(ctx, l.archive()); err != nil {
		return fmt.Errorf("cannot load the images: %w", err)
	}
	cluster, err := apply.Connect(l.Layout.Kubeconfig())
	if err != nil {
		return err
	}
	if err := l.until(ctx, "the API server", cluster.Serves); err != nil {
		return err
	}
	l.say("API server ready")
	if err := l.run(ctx, setup.Controllers(), setup.Scheduler(), setup.Volumes(), setup.Kubelet()); err != nil {
		return err
	}
	if err := l.run(ctx, setup.Network()...); err != nil {
		return err
	}
	if err := l.until(ctx, "the store", l.makeBucket); err != nil {
		return err
	}
	if err := l.settle(ctx, cluster); err != nil {
		return err
	}
	return l.snapshots(ctx, setup, cluster)
}

// snapshots gives the cluster the kinds of its volume snapshots, and who makes them.
func (l Lab) snapshots(ctx context.Context, setup daemons.Setup, cluster *apply.Cluster) error {
	kinds, err := apply.Objects(setup.SnapshotKinds())
	if err != nil {
		return err
	}
	objects, err := apply.Objects(addons.Snapshots())
	if err != nil {
		return err
	}
	if err := cluster.Apply(ctx, kinds); err != nil {
		return err
	}
	if err := l.until(ctx, "the snapshot kinds", func(ctx context.Context) error { return cluster.Apply(ctx, objects) }); err != nil {
		return err
	}
	return l.run(ctx, setup.Snapshots()...)
}

// settle waits until pods run: that of the DNS stands for all.
func (l Lab) settle(ctx context.Context, cluster *apply.Cluster) error {
	if err := l.until(ctx, "the node", func(ctx context.Context) error {
		return cluster.NodeReady(ctx, place.NodeName)
	}); err != nil {
		return err
	}
	l.say("node ready")
	objects, err := apply.Objects(addons.Files)
	if err != nil {
		return err
	}
	if err := cluster.Apply(ctx, objects); err != nil {
		return err
	}
	return l.until(ctx, "DNS", func(ctx context.Context) error { return cluster.PodsReady(ctx, objects) })
}

func (l Lab) run(ctx context.Context, list ...node.Daemon) error {
	for _, daemon := range list {
		if err := l.node().Start(ctx, daemon); err != nil {
			return err
		}
	}
	return nil
}

// until waits like apply.Until, and gives up as soon as a daemon ends: nothing
// would become ready any more.
func (l Lab) until(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := apply.Until(ctx, what, func(ctx context.Context) error {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		processes, failed := l.node().List(ctx)
		if failed != nil {
			return failed
		}
		for _, process := range processes {
			if process.Ended {
				cancel(fmt.Errorf("%s ended (%s): see %s", process.Name, process.Status, l.Layout.Log(process.Name)))
			}
		}
		return err
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
