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
	Socket   string   // where the node listens; in one of Shared
	Shared   []string // what the node still sees of the machine below Hidden
	Scratch  string   // an empty directory of the node's own
	Views    []View   // what it sees elsewhere than the machine does
	Cgroup2  string   // the node's directory in the cgroup2 hierarchy
}

// View shows a directory of the machine at another path.
type View struct{ From, At string }

// hidden are the directories where daemons leave things by habit. The node has
// empty ones of its own in their place.
var hidden = []string{"/run", "/var/lib", "/opt"}

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
		{"give the node directories of its own", p.hide},
		{"show the node its directories", p.show},
		{"give the node its own pinned eBPF objects", func() error {
			return unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "")
		}},
		{"keep the machine's kernel settings", p.maskSettings},
		{"let containers with users of their own mount /proc", whole},
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

// whole keeps a second view of the processes, with nothing masked in it: the
// kernel lets a user namespace mount /proc only where a whole one can be seen.
func whole() error {
	const at = "/run/irkit-lab-proc"
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	return unix.Mount("proc", at, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// hide covers each hidden directory with an empty file system that goes with the
// node, but for what is shared.
func (p Places) hide() error {
	for _, directory := range hidden {
		if err := unix.Mount("irkit-lab", p.Scratch, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
			return err
		}
		for _, shared := range p.Shared {
			within, err := filepath.Rel(directory, shared)
			if err != nil || !filepath.IsLocal(within) {
				continue
			}
			if err := bind(shared, filepath.Join(p.Scratch, within)); err != nil {
				return err
			}
		}
		if err := unix.Mount(p.Scratch, directory, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
	}
	return nil
}

// show makes every view, and the directories that are expected to be there.
func (p Places) show() error {
	for _, directory := range []string{"/run/lock", "/run/netns"} {
		if err := os.Mkdir(directory, 0o755); err != nil {
			return err
		}
	}
	for _, view := range append([]View{{p.Cgroup2, Cgroup2View}}, p.Views...) {
		if err := bind(view.From, view.At); err != nil {
			return fmt.Errorf("%s at %s: %w", view.From, view.At, err)
		}
	}
	return nil
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return unix.Mount(from, to, "", unix.MS_BIND, "")
}
