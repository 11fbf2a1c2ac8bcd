//go:build linux

package inside

import (
	"fmt"
	"strings"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/known"
	"irkit.dev/irkit/evidence"
)

// initialPID is the inode of the node's own PID namespace (PROC_PID_INIT_INO,
// include/linux/proc_ns.h): constant since Linux 3.8.
const initialPID = 0xEFFFFFFC

// beside is one target as it is read: who it is, and where its neighbours end.
type beside struct {
	Options
	proc    proc
	opening *Tables
	known   *known.Set // files whose bytes need not come; nil: none
}

// aim turns to another container that this worker sees; "" is its own target.
func (b beside) aim(container string) (beside, error) {
	if container == "" || container == b.ContainerID {
		return b, nil
	}
	pids, err := b.proc.pids()
	if err != nil {
		return b, err
	}
	for _, pid := range pids {
		if strings.Contains(b.cgroup(pid), container) {
			b.ContainerID, b.TargetPID = container, pid
			return b, nil
		}
	}
	return b, fmt.Errorf("no process of container %s here: %w", container, evidence.ErrNotFound)
}

func (b beside) cgroup(pid int) string {
	c, _, _ := b.proc.read(16<<10, b.proc.of(pid, "cgroup"))
	return string(c)
}

// view is what decides who belongs to the target, read once for one table.
type view struct {
	beside
	pidns, mntns   uint64 // of the target
	selfMnt        uint64
	selfExe        identity
	boot           time.Time
	shared, onNode bool // readers share the target's PID namespace; it is the node's own
	wait           *patience
}

func (b beside) look() view {
	v := view{beside: b, boot: b.proc.boot(), wait: newPatience(b.Budgets.Wait, 32)}
	v.pidns, v.mntns = b.proc.namespace(b.TargetPID, "pid"), b.proc.namespace(b.TargetPID, "mnt")
	v.selfMnt = b.proc.namespace(b.Self, "mnt")
	v.selfExe, _ = identify(b.proc.of(b.Self, "exe"))
	self := b.proc.namespace(b.Self, "pid")
	v.shared = self != 0 && self == v.pidns
	v.onNode = b.NodePIDs || v.pidns == initialPID || (v.pidns == 0 && self == initialPID)
	return v
}

// own tells a process of the target container.
func (v view) own(pid int, cgroup string) bool {
	if v.ContainerID == "" {
		return v.near(pid, cgroup)
	}
	if strings.Contains(cgroup, v.ContainerID) {
		return true
	}
	mnt := v.proc.namespace(pid, "mnt")
	return mnt != 0 && mnt == v.mntns
}

// near tells a process that the target's own processes could see: of its PID
// namespace. Where that is the node's, only the target's own are near.
func (v view) near(pid int, cgroup string) bool {
	if v.onNode && v.ContainerID != "" {
		mnt := v.proc.namespace(pid, "mnt")
		return strings.Contains(cgroup, v.ContainerID) || (mnt != 0 && mnt == v.mntns)
	}
	ns := v.proc.namespace(pid, "pid")
	if ns == 0 || v.pidns == 0 || ns == v.pidns {
		return true
	}
	// A child PID namespace that the target made lies below its own: it is seen from
	// there. Where we look from the target's own namespace all that we see is such.
	return v.shared || (v.ContainerID != "" && strings.Contains(cgroup, v.ContainerID))
}

// ours tells the worker and its relays. A process of the target that merely runs in
// our mount namespace, or under our program's name, is not.
func (v view) ours(pid int) bool {
	if pid == v.Self {
		return true
	}
	mnt := v.proc.namespace(pid, "mnt")
	if mnt == 0 || mnt != v.selfMnt || mnt == v.mntns || v.selfExe == (identity{}) {
		return false
	}
	exe, err := identify(v.proc.of(pid, "exe"))
	return err == nil && exe == v.selfExe
}

// header begins the description of an artifact.
func (b beside) header(kind, ext, media string, rank int, class evidence.Class) agent.Header {
	return agent.Header{
		Kind: kind, Ext: ext, MediaType: media, Class: class, Rank: rank, Trust: b.Trust,
		Compress: true, Started: time.Now().UTC(),
		Detail: fmt.Sprintf("%s of process %d", kind, b.TargetPID),
	}
}

// absent files an artifact that could not be had, or is left out.
func absent(h agent.Header, status evidence.Status, emit Emit, format string, a ...any) error {
	h.Absent = &evidence.Absence{Status: status, Reason: fmt.Sprintf(format, a...)}
	return emit(h, nil)
}

const jsonLines = "application/x-ndjson"
