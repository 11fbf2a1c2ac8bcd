package node

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// masked are the kernel settings that the kubelet and Cilium write although they
// belong to the whole machine, with what the two want to read there. The node
// sees files of its own in their place. What belongs to the network namespace
// (net/...) is not masked.
var masked = map[string]string{
	"vm/overcommit_memory":             "1",
	"vm/panic_on_oom":                  "0",
	"kernel/panic":                     "10",
	"kernel/panic_on_oops":             "1",
	"kernel/keys/root_maxkeys":         "1000000",
	"kernel/keys/root_maxbytes":        "25000000",
	"kernel/unprivileged_bpf_disabled": "1",
	"kernel/timer_migration":           "0",
}

// Masked lists the settings of the machine that the lab promises not to change.
func Masked() []string {
	paths := make([]string, 0, len(masked))
	for setting := range masked {
		paths = append(paths, filepath.Join("/proc/sys", setting))
	}
	return paths
}

func (p Places) maskSettings() error {
	directory := "/run/irkit-lab-sysctl"
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	for setting, value := range masked {
		path := filepath.Join("/proc/sys", setting)
		if _, err := os.Stat(path); err != nil {
			continue // not in this kernel
		}
		stand := filepath.Join(directory, filepath.Base(setting))
		if err := os.WriteFile(stand, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(stand, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	return nil
}
