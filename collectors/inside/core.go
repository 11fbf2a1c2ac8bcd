//go:build linux

package inside

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// What a request of kind memory may ask for beside the number of one process.
const (
	memoryAll  = "all"
	memoryCode = "anon-exec"
)

// ErrMemory is the refusal of a request for memory that is none of its words.
var ErrMemory = errors.New("want all, anon-exec or the number of a process")

// memoryOf gives the memory of one process, or of each of the target's, as ELF cores. The
// processes run on meanwhile. Only executable memory without a file is given when nothing
// more was asked for.
func (b beside) memoryOf(ctx context.Context, q agent.Request, emit Emit) error {
	wanted := 0
	if q.Memory != "" && q.Memory != memoryAll && q.Memory != memoryCode {
		pid, err := strconv.Atoi(q.Memory)
		if err != nil || pid <= 0 {
			return fmt.Errorf("memory %q: %w", q.Memory, ErrMemory)
		}
		wanted = pid
	}
	h := b.header("memory", "core", "application/x-coredump", collectors.RankRecovered, evidence.Restricted)
	v := b.look()
	pids, err := b.proc.pids()
	if err != nil {
		return absent(h, evidence.Impossible, emit, "list processes: %s", cause(err))
	}
	codeOnly := wanted == 0 && q.Memory != memoryAll
	mounts := b.mountsOf(q.SkipMounts)
	budget, came := q.MaxBytes, 0
	for _, pid := range pids {
		if wanted != 0 && pid != wanted || v.ours(pid) || !v.own(pid, b.cgroup(pid)) {
			continue
		}
		used, ok, err := b.core(ctx, v, pid, codeOnly, budget, q.MaxBytes > 0, mounts, emit)
		if err != nil {
			return err
		}
		if ok {
			came++
		}
		budget = max(budget-used, 1)
	}
	switch {
	case came > 0:
		return nil
	case wanted != 0:
		return absent(h, evidence.Impossible, emit, "process %d is not the target's, or has ended", wanted)
	case codeOnly:
		return stream(ctx, h, 0, emit, func(o *out) error {
			o.note("no process of the target has executable memory without a file")
			return nil
		})
	}
	return absent(h, evidence.Impossible, emit, "no process of the target has memory that may be read")
}

// core gives one process; ok is false when there is nothing to give.
func (b beside) core(ctx context.Context, v view, pid int, codeOnly bool, budget int64, bounded bool, mounts *mountTable, emit Emit) (used int64, ok bool, err error) {
	p, there := v.process(pid, now)
	if !there {
		return 0, false, nil
	}
	h := b.header("memory", "core", "application/x-coredump", collectors.RankRecovered, evidence.Restricted)
	h.OrigName = []byte(p.exe)
	h.Detail = fmt.Sprintf("memory of process %d, started %d ticks after boot", pid, p.StartTicks)
	if codeOnly {
		h.Detail = "executable " + h.Detail + ", without a file"
	}
	m, err := v.openMemory(pid)
	if gone(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, true, absent(h, evidence.Impossible, emit, "memory of process %d: %s", pid, cause(err))
	}
	defer m.Close()
	limit := uint64(0)
	if bounded {
		limit = uint64(budget)
	}
	plan, err := v.plan(ctx, m, pid, codeOnly, limit, mounts)
	switch {
	case ctx.Err() != nil:
		return 0, false, ctx.Err()
	case err != nil && !gone(err):
		return 0, true, absent(h, evidence.Impossible, emit, "%s", cause(err))
	case err != nil || plan.regions == 0: // it ended, has none, or is a thread of the kernel
		return 0, false, nil
	}
	err = stream(ctx, h, 0, emit, func(o *out) error {
		o.changed("process %d was not stopped: it ran on while its memory was read", pid)
		return v.write(ctx, o, m, p, plan)
	})
	return int64(plan.stored()), true, err
}

// write writes a core (elf(5), ET_CORE): header, program headers, notes, then the memory,
// page by page as it is read. What was never used has no bytes.
func (v view) write(ctx context.Context, o *out, m *memory, p Process, plan *corePlan) error {
	notes, threads, silent := v.notes(ctx, p, plan)
	arch, _ := machine()
	le := binary.LittleEndian
	const ehsize, phentsize = 64, 56
	headers := len(plan.segments) + 1
	b := append([]byte("\x7fELF"), byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT))
	b = append(b, make([]byte, 16-len(b))...)
	b = le.AppendUint16(le.AppendUint16(b, uint16(elf.ET_CORE)), uint16(arch))
	b = le.AppendUint32(b, uint32(elf.EV_CURRENT))
	b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, 0), ehsize), 0) // entry, program headers, section headers
	b = le.AppendUint32(b, 0)
	for _, n := range []int{ehsize, phentsize, headers, 0, 0, 0} {
		b = le.AppendUint16(b, uint16(n))
	}
	at := uint64(ehsize + phentsize*headers)
	b = header(b, elf.PT_NOTE, 0, at, 0, uint64(len(notes)), 0, 4)
	at += uint64(len(notes))
	gap := -at & (m.page - 1)
	at += gap
	for i := range plan.segments {
		s := &plan.segments[i]
		s.offset = at
		at += s.keep
		b = header(b, elf.PT_LOAD, s.flags, s.offset, s.from, s.keep, s.to-s.from, m.page)
	}
	for _, part := range [][]byte{b, notes, make([]byte, gap)} {
		if _, err := o.Write(part); err != nil {
			return err
		}
	}
	for _, n := range plan.notes {
		o.note("%s", n)
	}
	if silent > 0 {
		o.note("%d of %d threads ran: their registers are zeros", silent, threads)
	}
	if plan.secret > 0 {
		o.note("left out: %d bytes mapped from secret, token or other volumes that were not asked for", plan.secret)
	}
	var unread uint64
	for _, s := range plan.segments {
		n, err := m.read(ctx, s.from, s.from+s.keep, func(p []byte) error { _, err := o.Write(p); return err })
		unread += n
		if err != nil {
			return fmt.Errorf("read %d bytes at %#x: %w", s.keep, s.from, err)
		}
	}
	if unread > 0 {
		o.note("not readable, given as zeros: %d bytes", unread)
	}
	if plan.left > 0 {
		return fmt.Errorf("%d bytes of memory are left out: %w", plan.left, ErrLimit)
	}
	return nil
}

// header appends one program header.
func header(b []byte, kind elf.ProgType, flags elf.ProgFlag, offset, address, stored, size, align uint64) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(le.AppendUint32(b, uint32(kind)), uint32(flags))
	for _, n := range []uint64{offset, address, 0, stored, size, align} {
		b = le.AppendUint64(b, n)
	}
	return b
}
