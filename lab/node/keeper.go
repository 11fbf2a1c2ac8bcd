package node

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// keeper starts daemons and collects everything that ends below it. Nobody else
// in its process may wait for a child.
type keeper struct {
	networks map[Network]*os.File

	mu        sync.Mutex // also held while a process is started: see reap
	processes []Process
}

func (k *keeper) list() []Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.processes)
}

func (k *keeper) start(d Daemon) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running(d.Name) != nil {
		return fmt.Errorf("%s runs already", d.Name)
	}
	k.processes = slices.DeleteFunc(k.processes, func(p Process) bool { return p.Name == d.Name })

	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot log %s: %w", d.Name, err)
	}
	defer log.Close()
	process, err := k.execute(d, log)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", d.Name, err)
	}
	k.processes = append(k.processes, Process{Name: d.Name, PID: process.Pid, Started: time.Now()})
	return process.Release()
}

// execute forks from a thread that has entered the daemon's network namespace.
// The thread is given up when it cannot be brought back.
func (k *keeper) execute(d Daemon, log *os.File) (*os.Process, error) {
	runtime.LockOSThread()
	if d.Network != Inside {
		if err := unix.Setns(int(k.networks[d.Network].Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, fmt.Errorf("cannot enter the network %q: %w", d.Network, err)
		}
	}
	process, err := os.StartProcess(d.Argv[0], d.Argv, &os.ProcAttr{
		Dir:   "/",
		Env:   append(slices.Clone(d.Env), os.Environ()...), // the first of a name counts
		Files: []*os.File{nil, log, log},
		Sys:   &unix.SysProcAttr{Setsid: true},
	})
	if unix.Setns(int(k.networks[Inside].Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return process, err
}

func (k *keeper) stop(name string) error {
	k.mu.Lock()
	p := k.running(name)
	if p == nil {
		k.mu.Unlock()
		return fmt.Errorf("%s does not run", name)
	}
	pid := p.PID
	k.mu.Unlock()

	unix.Kill(pid, unix.SIGTERM)
	for wait := 0; k.alive(name, pid); wait++ {
		if wait == 30 {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

func (k *keeper) alive(name string, pid int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.running(name)
	return p != nil && p.PID == pid
}

func (k *keeper) running(name string) *Process {
	for i := range k.processes {
		if p := &k.processes[i]; p.Name == name && !p.Ended {
			return p
		}
	}
	return nil
}

// reap collects ended processes: daemons, whose end is noted, and whatever a
// daemon left behind. It holds the lock, so that a daemon which ends at once is
// known by the time it is collected.
func (k *keeper) reap() {
	ended := make(chan os.Signal, 16)
	signal.Notify(ended, unix.SIGCHLD)
	for ; ; <-ended {
		k.mu.Lock()
		for {
			var status unix.WaitStatus
			pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
			if err != nil || pid <= 0 {
				break
			}
			k.note(pid, status)
		}
		k.mu.Unlock()
	}
}

func (k *keeper) note(pid int, status unix.WaitStatus) {
	for i := range k.processes {
		p := &k.processes[i]
		if p.PID != pid || p.Ended {
			continue
		}
		p.Ended, p.Status = true, fmt.Sprintf("exit status %d", status.ExitStatus())
		if status.Signaled() {
			p.Status = "killed by " + status.Signal().String()
		}
	}
}
