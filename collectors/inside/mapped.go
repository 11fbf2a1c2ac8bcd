//go:build linux

package inside

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"irkit.dev/irkit/agent"
)

// maxGap is how much of a file may lie between two of its mappings and count as zeros.
const maxGap = 16 << 20

// parts are the mappings of a lost file in one process, in order of the file.
func (v view) parts(l Lost) []OpenFile {
	var all []OpenFile
	_, err := v.regions(l.PID, func(m OpenFile) {
		if m.Inode == l.Inode && m.Dev == l.Dev && m.target == l.target && m.Perms[0] == 'r' && len(all) < 256 {
			all = append(all, m)
		}
	})
	if err != nil {
		return nil
	}
	slices.SortStableFunc(all, func(a, b OpenFile) int { return cmp.Compare(a.offset, b.offset) })
	return all
}

// fromMemory gives a lost file as a process has it mapped, where the kernel does not let us
// open it: what was never mapped is missing, and what the process changed is as it is now.
func (b beside) fromMemory(ctx context.Context, q agent.Request, h agent.Header, l Lost, emit Emit) error {
	h.Detail += ", read from the process's memory"
	limit := uint64(b.Budgets.Recover)
	if q.MaxBytes > 0 {
		limit = min(limit, uint64(q.MaxBytes))
	}
	return stream(ctx, h, int64(limit), emit, func(o *out) error {
		v := b.look()
		mem, err := v.openMemory(l.PID)
		if err != nil {
			return fmt.Errorf("open the memory of process %d: %w", l.PID, err)
		}
		defer mem.Close()
		o.note("the kernel opens this mapping only with CAP_CHECKPOINT_RESTORE: read from memory, as process %d has it mapped", l.PID)
		write := func(p []byte) error { _, err := o.Write(p); return err }
		var at uint64
		for _, m := range l.parts {
			end := m.offset + (m.to - m.from)
			if end <= at || end < m.offset {
				continue // another mapping of the same part
			}
			if m.offset > at+maxGap {
				return fmt.Errorf("%d bytes between two mappings: %w", m.offset-at, ErrLimit)
			}
			if m.offset > at {
				o.note("not mapped, given as zeros: %d bytes at %d", m.offset-at, at)
				if err := zeros(m.offset-at, write); err != nil {
					return err
				}
				at = m.offset
			}
			unread, err := mem.read(ctx, m.from+(at-m.offset), m.to, write)
			if unread > 0 {
				o.note("not readable, given as zeros: %d bytes of %s", unread, m.Map)
			}
			if err != nil {
				return err
			}
			at = end
		}
		return nil
	})
}
