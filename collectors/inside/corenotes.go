//go:build linux

package inside

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Types of the notes of a core (elf(5), linux/elf.h).
const (
	noteStatus = 1
	noteInfo   = 3
	noteAuxv   = 6
	noteFile   = 0x46494c45
)

const maxThreads = 4096

// machine is what a core says of the processor, and how many registers its status has.
func machine() (elf.Machine, int) {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64, 34 // x0 to x30, sp, pc, pstate
	}
	return elf.EM_X86_64, 27 // struct user_regs_struct
}

// waiting is what the kernel says of a thread that waits in it (proc_pid_syscall(5)).
type waiting struct {
	call   int64 // -1: in no system call
	args   [6]uint64
	sp, pc uint64
}

// parseSyscall reads /proc/<pid>/task/<tid>/syscall; a thread that runs has no registers
// to tell of.
func parseSyscall(b []byte) (w waiting, ok bool) {
	f := strings.Fields(string(b))
	if len(f) != 3 && len(f) != 9 {
		return w, false
	}
	call, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || (call < 0) != (len(f) == 3) {
		return w, false
	}
	var words [8]uint64
	for i, s := range f[1:] {
		n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
		if err != nil {
			return w, false
		}
		words[i] = n
	}
	w.call = call
	if call < 0 {
		w.sp, w.pc = words[0], words[1]
	} else {
		copy(w.args[:], words[:6])
		w.sp, w.pc = words[6], words[7]
	}
	return w, true
}

// registers puts what is known of a waiting thread where its processor's register set
// has it. The others are zeros: they are to be had only from a stopped thread.
func (w waiting) registers() []uint64 {
	arch, n := machine()
	r := make([]uint64, n)
	if arch == elf.EM_AARCH64 {
		copy(r, w.args[:])
		r[31], r[32] = w.sp, w.pc
		if w.call >= 0 {
			r[8] = uint64(w.call)
		}
		return r
	}
	const r10, r9, r8, rdx, rsi, rdi, origRAX, rip, cs, rsp, ss = 7, 8, 9, 12, 13, 14, 15, 16, 17, 19, 20
	for i, at := range []int{rdi, rsi, rdx, r10, r8, r9} {
		r[at] = w.args[i]
	}
	r[origRAX], r[rip], r[rsp] = uint64(w.call), w.pc, w.sp
	r[cs], r[ss] = 0x33, 0x2b // a 64-bit program's
	return r
}

// note is one entry of a segment PT_NOTE.
func note(kind uint32, content []byte) []byte {
	var b bytes.Buffer
	le := binary.LittleEndian
	b.Write(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 5), uint32(len(content))), kind))
	b.WriteString("CORE\x00\x00\x00\x00")
	b.Write(content)
	b.Write(make([]byte, -len(content)&3))
	return b.Bytes()
}

// status is one struct elf_prstatus (linux/elfcore.h).
func statusNote(s stat, pid int, registers []uint64) []byte {
	le := binary.LittleEndian
	b := make([]byte, 32)
	for _, n := range []int{pid, s.ppid, s.pgrp, s.session} {
		b = le.AppendUint32(b, uint32(n))
	}
	b = append(b, make([]byte, 4*16)...) // times
	for _, r := range registers {
		b = le.AppendUint64(b, r)
	}
	return note(noteStatus, append(b, make([]byte, 8)...)) // no floating point registers
}

// infoNote is one struct elf_prpsinfo.
func infoNote(p Process, s stat, cmdline []byte) []byte {
	le := binary.LittleEndian
	state := max(strings.IndexByte("RSDTZW", (s.state + "?")[0]), 0)
	b := []byte{byte(state), (s.state + "?")[0], 0, 0, 0, 0, 0, 0}
	if s.state == "Z" {
		b[2] = 1
	}
	b = le.AppendUint64(b, s.flags)
	for _, ids := range [][]int{p.UIDs, p.GIDs} {
		id := 0
		if len(ids) > 0 {
			id = ids[0]
		}
		b = le.AppendUint32(b, uint32(id))
	}
	for _, n := range []int{p.PID, s.ppid, s.pgrp, s.session} {
		b = le.AppendUint32(b, uint32(n))
	}
	var name [16]byte
	copy(name[:15], s.comm)
	var args [80]byte
	copy(args[:79], bytes.ReplaceAll(bytes.TrimRight(cmdline, "\x00"), []byte{0}, []byte{' '}))
	return note(noteInfo, append(append(b, name[:]...), args[:]...))
}

// fileNote tells which file is mapped where.
func fileNote(files []mapped, page uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(le.AppendUint64(nil, uint64(len(files))), page)
	for _, f := range files {
		b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, f.from), f.to), f.offset/page)
	}
	for _, f := range files {
		b = append(append(b, f.name...), 0)
	}
	return note(noteFile, b)
}

// notes are those of one process. silent counts threads whose registers are not known.
func (v view) notes(ctx context.Context, p Process, plan *corePlan) (all []byte, threads, silent int) {
	raw, _, _ := v.proc.read(8<<10, v.proc.of(p.PID, "stat"))
	s, _ := parseStat(raw)
	cmdline, _, _ := v.memory(4<<10, v.proc.of(p.PID, "cmdline"))
	for i, tid := range v.threads(p.PID) {
		if ctx.Err() != nil {
			break
		}
		own := s
		if raw, _, err := v.proc.read(8<<10, v.proc.of(p.PID, "task", strconv.Itoa(tid), "stat")); err == nil {
			if t, err := parseStat(raw); err == nil {
				own = t
			}
		}
		raw, _, err := v.proc.read(1<<10, v.proc.of(p.PID, "task", strconv.Itoa(tid), "syscall"))
		w, ok := parseSyscall(raw)
		if err != nil || !ok {
			silent++
		}
		threads++
		all = append(all, statusNote(own, tid, w.registers())...)
		if i > 0 {
			continue
		}
		all = append(all, infoNote(p, s, cmdline)...)
		if auxv, _, err := v.memory(4<<10, v.proc.of(p.PID, "auxv")); err == nil && len(auxv) > 0 {
			all = append(all, note(noteAuxv, auxv[:len(auxv)&^15])...)
		}
		if len(plan.files) > 0 {
			all = append(all, fileNote(plan.files, uint64(os.Getpagesize()))...)
		}
	}
	return all, threads, silent
}

// threads are those of a process, its first one first.
func (v view) threads(pid int) []int {
	tids := []int{pid}
	d, err := os.Open(v.proc.of(pid, "task"))
	if err != nil {
		return tids
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxThreads)
	for _, n := range names {
		if tid, err := strconv.Atoi(n); err == nil && tid != pid {
			tids = append(tids, tid)
		}
	}
	slices.Sort(tids[1:])
	return tids
}
