// Package cluster brings the lab up and down.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/lab/apply"
	"irkit.dev/irkit/lab/daemons"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

// Lab is the one lab of this machine, up or not.
type Lab struct {
	Layout place.Layout
	Out    io.Writer // what is going on, for a person
}

func (l Lab) say(format string, arguments ...any) {
	fmt.Fprintf(l.Out, "lab: "+format+"\n", arguments...)
}

func (l Lab) record() string      { return l.Layout.RunPath("node.json") }
func (l Lab) marker() string      { return l.Layout.RunPath("up") }
func (l Lab) node() node.Client   { return node.Client{Socket: l.Layout.RunPath("node.sock")} }
func (l Lab) socketPath() string  { return l.Layout.RunPath("node.sock") }
func (l Lab) scratchPath() string { return l.Layout.StatePath("scratch") }

// CNI answers which network the lab has that is up, or "" when none is, whole.
func (l Lab) CNI() string {
	content, err := os.ReadFile(l.marker())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// Connect reaches the cluster as its administrator.
func (l Lab) Connect() (*apply.Cluster, error) {
	if l.CNI() == "" {
		return nil, errors.New("the lab is not up\nlab: hint: make lab-up")
	}
	return apply.Connect(l.Layout.Kubeconfig())
}

// NeedRoot refuses anybody else.
func NeedRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: it makes namespaces, mounts and cgroups\nlab: hint: sudo make lab-up")
	}
	return nil
}

// alone makes up and down wait for each other. The lock goes with its process.
func (l Lab) alone() (release func(), err error) {
	if err := NeedRoot(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.Layout.Run, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(l.Layout.RunPath("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		l.say("waiting: another lab command is at work")
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			file.Close()
			return nil, err
		}
	}
	return func() { file.Close() }, nil
}

// Healthy is nil when every daemon runs, the node takes pods and the store
// answers.
func (l Lab) Healthy(ctx context.Context) error {
	processes, err := l.node().List(ctx)
	if err != nil {
		return err
	}
	for _, process := range processes {
		if process.Ended {
			return fmt.Errorf("%s ended (%s): see %s", process.Name, process.Status, l.Layout.Log(process.Name))
		}
	}
	cluster, err := l.Connect()
	if err != nil {
		return err
	}
	if err := cluster.NodeReady(ctx, place.NodeName); err != nil {
		return err
	}
	return l.storeServes(ctx)
}

// CheckCNI refuses a network that the lab does not have.
func CheckCNI(cni string) error {
	if cni != daemons.Cilium && cni != daemons.Bridge {
		return fmt.Errorf("unknown network %q\nlab: hint: CNI=cilium or CNI=bridge", cni)
	}
	return nil
}

// Processes lists the daemons, also of a lab that is not up yet.
func (l Lab) Processes(ctx context.Context) ([]node.Process, error) {
	return l.node().List(ctx)
}
