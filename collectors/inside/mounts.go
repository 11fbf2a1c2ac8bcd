//go:build linux

package inside

import (
	"context"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// mounts tells the mount table of the target, and that of each process of it that
// lives in another mount namespace.
func (b beside) mounts(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("mounts", "jsonl", jsonLines, collectors.RankProcess, evidence.Restricted)
	if _, _, err := b.proc.read(1, b.proc.of(b.TargetPID, "mountinfo")); err != nil {
		return absent(h, evidence.Impossible, emit, "mount table of process %d: %s", b.TargetPID, cause(err))
	}
	return stream(ctx, h, q.MaxBytes, emit, func(o *out) error {
		seen := map[uint64]bool{}
		table := func(pid int, ns uint64) error {
			raw, more, err := b.proc.read(16<<20, b.proc.of(pid, "mountinfo"))
			if err != nil {
				o.note("mount table of process %d: %s", pid, cause(err))
				return nil
			}
			seen[ns] = true
			mounts, bad := parseMounts(raw)
			if bad > 0 || more {
				o.note("mount table of process %d: %d lines that are none, cut: %v", pid, bad, more)
			}
			for _, m := range mounts {
				if err := o.line(struct {
					PID       int    `json:"pid"`
					Namespace uint64 `json:"mnt_ns,omitempty"`
					Mount
				}{pid, ns, m}); err != nil {
					return err
				}
			}
			return nil
		}
		v := b.look()
		if err := table(b.TargetPID, v.mntns); err != nil {
			return err
		}
		pids, err := b.proc.pids()
		if err != nil {
			o.note("list processes: %s", cause(err))
		}
		for _, pid := range pids {
			ns := b.proc.namespace(pid, "mnt")
			if ns == 0 || seen[ns] || v.ours(pid) || !v.own(pid, b.cgroup(pid)) || len(seen) == 64 {
				continue
			}
			if err := table(pid, ns); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}
