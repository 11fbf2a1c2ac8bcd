package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"irkit.dev/irkit/lab/apply"
	"irkit.dev/irkit/lab/cgroup"
	"irkit.dev/irkit/lab/daemons"
	"irkit.dev/irkit/lab/identity"
	"irkit.dev/irkit/lab/images"
	"irkit.dev/irkit/lab/network"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/parts"
	"irkit.dev/irkit/lab/place"
)

// Up brings the lab up from compiled parts. A lab that is up and healthy stays
// as it is; one that is up with another network is refused; whatever else is
// left of one is removed first. When Up fails, the lab is left as it is, for a
// look at it.
func (l Lab) Up(ctx context.Context, set parts.Set, cni string) error {
	release, err := l.alone()
	if err != nil {
		return err
	}
	defer release()

	if present := l.CNI(); present != "" {
		err := l.Healthy(ctx)
		if err == nil && present != cni {
			return fmt.Errorf("the lab is up with CNI=%s\nlab: hint: make lab-down first", present)
		}
		if err == nil {
			l.say("already up (CNI=%s)", present)
			return nil
		}
		l.say("up, but not healthy (%v): starting over", err)
	}
	if err := l.clean(); err != nil {
		return err
	}
	began := time.Now()
	if err := l.raise(ctx, set, cni); err != nil {
		return fmt.Errorf("%w\nlab: hint: logs are in %s; make lab-down removes what is left", err, l.Layout.StatePath("log"))
	}
	l.say("up after %s (CNI=%s)", time.Since(began).Round(100*time.Millisecond), cni)
	return os.WriteFile(l.marker(), []byte(cni+"\n"), 0o644)
}

func (l Lab) raise(ctx context.Context, set parts.Set, cni string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	setup := daemons.Setup{Layout: l.Layout, Parts: set, CNI: cni, Self: self}
	if err := l.prepare(setup); err != nil {
		return err
	}
	if err := l.boot(self); err != nil {
		return err
	}
	if err := apply.Until(ctx, "the node's first process", func(ctx context.Context) error {
		_, err := l.node().List(ctx)
		return err
	}); err != nil {
		return err
	}
	if err := network.Lay(); err != nil {
		return err
	}
	return l.start(ctx, setup)
}

// prepare writes everything that daemons read.
func (l Lab) prepare(setup daemons.Setup) error {
	if err := os.RemoveAll(l.Layout.StatePath("log")); err != nil {
		return err
	}
	for _, directory := range []string{"log", "pod-logs", "kubelet", "scratch", "s3/buckets", "s3/versions"} {
		if err := os.MkdirAll(l.Layout.StatePath(directory), 0o755); err != nil {
			return err
		}
	}
	if err := identity.Make(l.Layout); err != nil {
		return fmt.Errorf("cannot make certificates: %w", err)
	}
	if err := l.writeStoreEnvironment(); err != nil {
		return err
	}
	if err := images.Build(setup.Parts, l.archive()); err != nil {
		return fmt.Errorf("cannot build the images: %w", err)
	}
	return setup.Prepare()
}

func (l Lab) archive() string { return l.Layout.StatePath("images.tar") }

// boot starts the node's first process, confined to its cgroups.
func (l Lab) boot(self string) error {
	if err := cgroup.Make(place.ControlGroup); err != nil {
		return err
	}
	_, err := node.Boot(node.Plan{
		Program: []string{self, "keep"},
		// Nothing of the caller's: a proxy set there would swallow the lab's traffic.
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + filepath.Clean(l.Layout.State),
			"IRKIT_LAB_STATE=" + l.Layout.State, "IRKIT_LAB_RUN=" + l.Layout.Run, "IRKIT_LAB_CACHE=" + l.Layout.Cache},
		Record:  l.record(),
		Log:     l.Layout.Log("node"),
		Confine: func(pid int) error { return cgroup.Confine(place.ControlGroup, pid) },
		Node:    place.NodeNamespace,
		World:   place.WorldNamespace,
	})
	return err
}

// Keep is the life of the node's first process.
func (l Lab) Keep() error {
	unified, err := cgroup.Unified(place.ControlGroup)
	if err != nil {
		return err
	}
	return node.Keep(node.Places{
		HostName: place.NodeName,
		Socket:   l.socketPath(),
		Shared:   []string{l.Layout.Run, l.Layout.State, l.Layout.Cache},
		Scratch:  l.scratchPath(),
		Views: []node.View{
			{From: l.Layout.StatePath("kubelet"), At: daemons.KubeletRoot},
			{From: l.Layout.StatePath("pod-logs"), At: "/var/log"},
		},
		Cgroup2: unified,
	})
}
