//go:build linux

package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// role is one process of a planted scene.
type role struct {
	Path   string   // of what runs; empty: this test binary
	Args   []string // argv, the first word too
	Env    []string
	Task   string
	Memfd  string // run from a memory file of this name instead
	Vanish bool   // Path is taken away once it runs
}

// play starts every role as a child of this process, whose stage is one PID namespace.
func play(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var roles []role
	if err := json.Unmarshal(b, &roles); err != nil {
		return err
	}
	for _, r := range roles {
		cmd := suspect(r.Task)
		cmd.Env = append(cmd.Env, r.Env...)
		if r.Path != "" {
			cmd.Path = r.Path
		}
		if r.Memfd != "" {
			image, err := os.ReadFile("/proc/self/exe")
			if err != nil {
				return err
			}
			fd, err := unix.MemfdCreate(r.Memfd, 0)
			if err != nil {
				return err
			}
			if _, err := unix.Write(fd, image); err != nil {
				return err
			}
			cmd.Path = fmt.Sprintf("/proc/self/fd/%d", fd)
		}
		if len(r.Args) > 0 {
			cmd.Args = r.Args
		}
		if err := begin(cmd); err != nil {
			return fmt.Errorf("%s: %w", r.Task, err)
		}
		if r.Vanish {
			if err := os.Remove(r.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin starts a process that says ready, and leaves it running.
func begin(cmd *exec.Cmd) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	held = append(held, in, out, cmd)
	said := make([]byte, 6)
	if n, err := out.Read(said); err != nil || string(said[:n]) != "ready\n" {
		return fmt.Errorf("child said %q: %w", said[:n], err)
	}
	return nil
}

// traceTask does what a role of a planted scene does.
func traceTask(task, arg string) error {
	switch task {
	case "play": // the scene's first process: mounts, the others, then its root
		f := strings.Split(arg, "|") // roles, root, what is mounted, over what
		if err := unix.Mount(f[2], f[3], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", f[3], err)
		}
		if err := play(f[0]); err != nil {
			return err
		}
		return errors.Join(unix.Chroot(f[1]), unix.Chdir("/"))
	case "sockets":
		raw, err1 := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		packet, err2 := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		local, err3 := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		held = append(held, raw, packet, local)
		if err := errors.Join(err1, err2, err3, unix.Bind(local, &unix.SockaddrUnix{Name: "@" + arg})); err != nil {
			return err
		}
		return unix.Listen(local, 1)
	case "forks": // goes on after it said ready
		go func() {
			for {
				pid, err := syscall.ForkExec("/bin/true", []string{arg}, &syscall.ProcAttr{})
				if err == nil {
					_, _ = syscall.Wait4(pid, nil, 0, nil)
				}
				time.Sleep(time.Millisecond)
			}
		}()
		return nil
	}
	return fmt.Errorf("no task %q", task)
}
