package node

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Places are the directories that the node sees or makes its own.
type Places struct {
	HostName string
	Socket   string // where the node listens; inside Run
	Run      string // the one directory below /run that stays the machine's
	Scratch  string // an empty directory of the node's own
	Logs     string // what the node sees as /var/log: the kubelet's pod logs
	Cgroup2  string // the node's directory in the cgroup2 hierarchy
}

// Cgroup2View is where the node sees its own cgroup2 directory as a mount:
// Cilium attaches its socket programs there, and the machine's own processes,
// which are outside of it, stay untouched.
const Cgroup2View = "/run/irkit-lab-cgroup2"

// mount gives the node its own view. All of it goes with the mount namespace.
func (p Places) mount() error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"leave the machine's mounts alone", func() error {
			return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}},
		{"show the node's own processes", func() error {
			return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"give the node its own /run", p.mountRun},
		{"give the node its own /var/log", func() error { return bind(p.Logs, "/var/log") }},
		{"give the node its own pinned eBPF objects", func() error {
			return unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "")
		}},
		{"show the node's own cgroup", func() error { return bind(p.Cgroup2, Cgroup2View) }},
		{"keep the machine's kernel settings", p.maskSettings},
		{"let containers share mounts with the node", func() error {
			return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("cannot %s: %w", step.what, err)
		}
	}
	return nil
}

// mountRun puts an empty file system over /run, so that what daemons leave there
// by habit never reaches the machine, and shows the lab's own directory in it.
func (p Places) mountRun() error {
	if err := unix.Mount("run", p.Scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, name := range []string{"lock", "netns", filepath.Base(Cgroup2View)} {
		if err := os.Mkdir(filepath.Join(p.Scratch, name), 0o755); err != nil {
			return err
		}
	}
	if within, err := filepath.Rel("/run", p.Run); err == nil && filepath.IsLocal(within) {
		if err := bind(p.Run, filepath.Join(p.Scratch, within)); err != nil {
			return err
		}
	}
	return unix.Mount(p.Scratch, "/run", "", unix.MS_MOVE, "")
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return unix.Mount(from, to, "", unix.MS_BIND, "")
}
