package node

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netns"
)

// Plan says how to start the node's first process.
type Plan struct {
	Program []string // what calls Keep
	Env     []string // its whole environment, and that of every daemon
	Record  string   // where its id is written before it may do anything
	Log     string
	Confine func(pid int) error // puts it into its cgroups
	Node    string              // names of the network namespaces, which
	World   string              // are made here and must not exist yet
}

// Boot makes the two network namespaces and starts the node's first process in
// the first of them. When Boot is interrupted, at whatever point, the process
// either is on record or ends by itself.
func Boot(plan Plan) (Record, error) {
	runtime.LockOSThread() // this thread changes its network namespace
	host, err := netns.Get()
	if err != nil {
		return Record{}, fmt.Errorf("cannot open this network namespace: %w", err)
	}
	defer host.Close()
	defer func() {
		if netns.Set(host) == nil {
			runtime.UnlockOSThread()
		}
	}()
	world, err := netns.NewNamed(plan.World)
	if err != nil {
		return Record{}, fmt.Errorf("cannot make network namespace %s: %w", plan.World, err)
	}
	defer world.Close()
	inside, err := netns.NewNamed(plan.Node)
	if err != nil {
		return Record{}, fmt.Errorf("cannot make network namespace %s: %w", plan.Node, err)
	}
	defer inside.Close()
	return plan.start(host, inside, world)
}

func (plan Plan) start(host, inside, world netns.NsHandle) (Record, error) {
	log, err := os.OpenFile(plan.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Record{}, err
	}
	defer log.Close()
	permission, permit, err := os.Pipe()
	if err != nil {
		return Record{}, err
	}
	defer permit.Close()
	defer permission.Close()

	networks, err := lend(host, inside, world)
	for _, network := range networks {
		defer network.Close()
	}
	if err != nil {
		return Record{}, err
	}
	command := exec.Command(plan.Program[0], plan.Program[1:]...)
	command.Env = plan.Env
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = append([]*os.File{permission}, networks...)
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := command.Start(); err != nil {
		return Record{}, fmt.Errorf("cannot start the node: %w", err)
	}
	r, err := observe(command.Process.Pid)
	if err != nil {
		return Record{}, err
	}
	if err := plan.Confine(r.PID); err != nil {
		return Record{}, err
	}
	if err := r.write(plan.Record); err != nil {
		return Record{}, fmt.Errorf("cannot record the node: %w", err)
	}
	if _, err := permit.Write([]byte{1}); err != nil {
		return Record{}, fmt.Errorf("the node ended at once: see %s", plan.Log)
	}
	go command.Wait() // or it stays a zombie for as long as we live
	return r, nil
}

// lend gives a child copies of the handles, which stay with their owner.
func lend(handles ...netns.NsHandle) ([]*os.File, error) {
	var files []*os.File
	for _, handle := range handles {
		fd, err := syscall.Dup(int(handle))
		if err != nil {
			return files, fmt.Errorf("cannot pass on a network namespace: %w", err)
		}
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "netns"))
	}
	return files, nil
}
