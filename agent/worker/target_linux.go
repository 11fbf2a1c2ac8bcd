package worker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoTarget says that the target's process was not found.
var ErrNoTarget = errors.New("target's process was not found")

// Target finds the process number of the target container's first process.
//
// With an ephemeral container's targetContainerName the PID namespace is the target's,
// and its first process is number 1 (KEP-277). Where the pod shares one among its
// containers (shared), or takes the node's, that field is ignored: then it is the
// oldest process in whose /proc/<pid>/cgroup the container's ID stands.
func Target(proc, containerID string, shared bool) (int, error) {
	if !shared {
		if os.Getpid() == 1 {
			return 0, fmt.Errorf("%w: this process is the first of its PID namespace", ErrNoTarget)
		}
		if _, err := os.Stat(filepath.Join(proc, "1")); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrNoTarget, err)
		}
		return 1, nil
	}
	if len(containerID) < 12 || strings.Trim(containerID, "0123456789abcdef") != "" {
		return 0, fmt.Errorf("%w: container ID %q", ErrNoTarget, containerID)
	}
	names, err := os.ReadDir(proc)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoTarget, err)
	}
	found, began := 0, uint64(0)
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		cgroup, err := os.ReadFile(filepath.Join(proc, n.Name(), "cgroup"))
		if err != nil || !bytes.Contains(cgroup, []byte(containerID)) {
			continue
		}
		start, err := startTime(proc, n.Name())
		if err != nil {
			continue
		}
		if found == 0 || start < began || start == began && pid < found {
			found, began = pid, start
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("%w: no process in container %s", ErrNoTarget, containerID)
	}
	return found, nil
}

// startTime is field 22 of /proc/<pid>/stat. The name in parentheses before may hold
// anything, parentheses too.
func startTime(proc, pid string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(proc, pid, "stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("stat of process %s has %d fields", pid, len(f))
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// Reaches reports a target that could look into this process, or change it: one whose
// processes can have SYS_PTRACE. All others are kept out by the worker being
// undumpable and by its own capabilities, even when they run as the same user
// (ptrace(2), access mode checking); they could only kill it.
func Reaches(proc string, pid int) (bool, error) {
	status, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status"))
	if err != nil {
		return true, fmt.Errorf("read capabilities of process %d: %w", pid, err)
	}
	bits, err := strconv.ParseUint(field(status, "CapBnd"), 16, 64)
	if err != nil {
		return true, fmt.Errorf("read capabilities of process %d: %w", pid, err)
	}
	return bits&(1<<unix.CAP_SYS_PTRACE) != 0, nil
}
