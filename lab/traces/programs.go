package traces

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
)

// programs are what Cilium loads into the kernel. They stay there for as long as
// something holds them: a pin, a cgroup, a device.
func programs() ([]string, error) {
	var found []string
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list eBPF programs: %w", err)
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it went away just now
		}
		info, err := program.Info()
		program.Close()
		if err == nil && (strings.HasPrefix(info.Name, "cil_") || strings.HasPrefix(info.Name, "tail_")) {
			found = append(found, fmt.Sprintf("eBPF program %d %s", id, info.Name))
		}
	}
}
