package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/cgroups"
)

// OnNode is a target among all processes of its node.
type OnNode struct {
	PodUID, ContainerID string
	// PID is the oldest process of the container, NetPID that of the pod: its sandbox,
	// where the runtime has a process for it, which no container can send elsewhere.
	PID, NetPID int

	proc       string
	began, net uint64 // when both were started, in the kernel's ticks
}

// FindOnNode finds the target by its control groups. It believes no name but those that
// runtime and kubelet gave: the container's whole ID, in the group of the pod's UID.
func FindOnNode(proc, podUID, containerID string) (OnNode, error) {
	t := OnNode{PodUID: cgroups.UID(podUID), ContainerID: containerID, proc: proc}
	if t.PodUID == "" || !cgroups.ID(containerID) {
		return t, fmt.Errorf("%w: container ID %q in pod UID %q", ErrNoTarget, containerID, podUID)
	}
	names, err := os.ReadDir(proc)
	if err != nil {
		return t, fmt.Errorf("%w: %w", ErrNoTarget, err)
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		m, ok := memberOf(filepath.Join(proc, n.Name()))
		if !ok || m.Pod != t.PodUID {
			continue
		}
		start, err := startTime(proc, n.Name())
		if err != nil {
			continue
		}
		if older(start, pid, t.net, t.NetPID) {
			t.net, t.NetPID = start, pid
		}
		if m.Container == t.ContainerID && older(start, pid, t.began, t.PID) {
			t.began, t.PID = start, pid
		}
	}
	if t.PID == 0 {
		return t, fmt.Errorf("%w: no process of container %s in pod %s on this node", ErrNoTarget, containerID, podUID)
	}
	return t, nil
}

func memberOf(dir string) (cgroups.Member, bool) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return cgroups.Member{}, false
	}
	return cgroups.Of(string(text))
}

func older(start uint64, pid int, than uint64, thanPID int) bool {
	return thanPID == 0 || start < than || start == than && pid < thanPID
}

// Still fails when the container's process is no longer the one that was found: its
// number may be another's by now, of the node's own even.
func (t OnNode) Still() error {
	name := strconv.Itoa(t.PID)
	m, ok := memberOf(filepath.Join(t.proc, name))
	start, err := startTime(t.proc, name)
	if err != nil || !ok || start != t.began || m != (cgroups.Member{Pod: t.PodUID, Container: t.ContainerID}) {
		return fmt.Errorf("%w: process %d of container %s has ended", ErrNoTarget, t.PID, t.ContainerID)
	}
	return nil
}

// Enter takes the calling thread, which must be locked to its goroutine and is lost for
// anything else, into the pod's network namespace. What it enters is held by a descriptor
// while it is made sure whose it is, so that a number given anew does not mislead it.
func (t OnNode) Enter() error {
	dir, err := unix.Open(filepath.Join(t.proc, strconv.Itoa(t.NetPID)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter the network of pod %s: %w", t.PodUID, err)
	}
	defer unix.Close(dir)
	m, ok := memberOf("/proc/self/fd/" + strconv.Itoa(dir))
	if !ok || m.Pod != t.PodUID {
		return fmt.Errorf("enter the network of pod %s: process %d is not of it any more: %w", t.PodUID, t.NetPID, ErrNoTarget)
	}
	ns, err := unix.Openat(dir, "ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter the network of pod %s: %w", t.PodUID, err)
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network of pod %s: %w", t.PodUID, err)
	}
	return nil
}

// Here fails unless the calling thread is in the pod's network namespace.
func (t OnNode) Here() error {
	ours, err := namespace("/proc/thread-self")
	if err != nil {
		return err
	}
	theirs, err := namespace(filepath.Join(t.proc, strconv.Itoa(t.NetPID)))
	if err == nil && ours != theirs {
		err = errors.New("this process is in another")
	}
	if err != nil {
		return fmt.Errorf("work in the network of pod %s: %w", t.PodUID, err)
	}
	return nil
}

// Refuse fails with agent.ErrNodeNetwork when the calling thread's network namespace is
// the node's: that of its first process, or of a process that started the container, as a
// runtime's shim is, wherever the node itself runs. What cannot be told is refused too.
func (t OnNode) Refuse() error {
	ours, err := namespace("/proc/thread-self")
	if err != nil {
		return fmt.Errorf("tell the pod's network from the node's: %w", err)
	}
	for pid, seen := t.PID, map[int]bool{}; pid > 0 && !seen[pid]; {
		seen[pid] = true
		dir := filepath.Join(t.proc, strconv.Itoa(pid))
		if m, ok := memberOf(dir); !ok || m.Pod != t.PodUID {
			if err := differs(dir, ours, fmt.Sprintf("process %d, which started the container", pid)); err != nil {
				return err
			}
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return fmt.Errorf("tell the pod's network from the node's: %w", err)
		}
		if pid, err = strconv.Atoi(field(status, "PPid")); err != nil {
			return fmt.Errorf("tell the pod's network from the node's: parent of process %d: %w", pid, err)
		}
	}
	return differs(filepath.Join(t.proc, "1"), ours, "the node's first process")
}

func differs(dir string, ours uint64, whose string) error {
	theirs, err := namespace(dir)
	if err != nil {
		return fmt.Errorf("tell the pod's network from the node's: %w", err)
	}
	if theirs == ours {
		return fmt.Errorf("%w: it is that of %s", agent.ErrNodeNetwork, whose)
	}
	return nil
}

func namespace(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "ns/net"), &st); err != nil {
		return 0, fmt.Errorf("network namespace of %s: %w", dir, err)
	}
	return st.Ino, nil
}

// Run runs the program as a child in the pod's network namespace, with these arguments and
// the number of the listener's descriptor behind them, until it ends; a ctx that ends ends
// it. A process has the namespace of the thread that started it (clone(2), setns(2)). This
// one stays where it is: what a runtime executes in a container joins the namespaces of the
// container's first process, and so the relay finds the socket here, where the pod does not.
func (t OnNode) Run(ctx context.Context, l *net.UnixListener, out io.Writer, args []string) error {
	f, err := l.File()
	if err != nil {
		return fmt.Errorf("keep the socket: %w", err)
	}
	defer f.Close()
	runtime.LockOSThread() // never unlocked: the thread is elsewhere, and ends with the goroutine
	if err := t.Enter(); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "/proc/self/exe", append(args, strconv.Itoa(inherited))...)
	c.Args[0] = "irkit-agent"
	c.ExtraFiles = []*os.File{f}
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 3 * time.Second
	if err := c.Run(); err != nil {
		return fmt.Errorf("work in the network of pod %s: %w", t.PodUID, err)
	}
	return nil
}

// inherited is the descriptor after standard input, output and error.
const inherited = 3

// Inherit is the listener that Run passed on.
func Inherit(fd int) (*net.UnixListener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	if f == nil {
		return nil, fmt.Errorf("take over the socket: descriptor %d", fd)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over the socket: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("take over the socket: it is a %T", l), l.Close())
	}
	return u, nil
}
