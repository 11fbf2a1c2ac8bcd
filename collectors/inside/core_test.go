//go:build linux

package inside

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
)

// injectedAt is where a process has its writable and executable region.
func injectedAt(t *testing.T, pid int) uint64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		if m, ok := parseMapping(strings.TrimSuffix(line, "\n")); ok && m.Perms == "rwxp" {
			return m.from
		}
	}
	t.Fatal("no writable and executable region")
	return 0
}

// coreOf is the core of one process, parsed.
func coreOf(t *testing.T, g got) *elf.File {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(g.bytes))
	must(t, err)
	if f.Type != elf.ET_CORE || f.Class != elf.ELFCLASS64 {
		t.Fatalf("%v %v", f.Type, f.Class)
	}
	last, end := uint64(0), uint64(0)
	for _, p := range f.Progs {
		end = max(end, p.Off+p.Filesz)
		if p.Type != elf.PT_LOAD {
			continue
		}
		if p.Vaddr < last || p.Filesz > p.Memsz || p.Filesz > 0 && p.Off%p.Align != p.Vaddr%p.Align {
			t.Errorf("segment %+v after %#x", p.ProgHeader, last)
		}
		last = p.Vaddr + p.Memsz
	}
	if end != uint64(len(g.bytes)) {
		t.Errorf("the last segment ends at %d of %d bytes", end, len(g.bytes))
	}
	return f
}

// peek is what a core has at an address; nil when nothing.
func peek(t *testing.T, f *elf.File, at uint64, n int) []byte {
	t.Helper()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && at >= p.Vaddr && at+uint64(n) <= p.Vaddr+p.Filesz {
			b := make([]byte, n)
			_, err := p.ReadAt(b, int64(at-p.Vaddr))
			must(t, err)
			return b
		}
	}
	return nil
}

// notesOf are the notes of a core by type.
func notesOf(t *testing.T, f *elf.File) map[uint32][][]byte {
	t.Helper()
	all := map[uint32][][]byte{}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		b := make([]byte, p.Filesz)
		_, err := p.ReadAt(b, 0)
		must(t, err)
		for len(b) > 0 {
			size, kind := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
			if string(b[12:17]) != "CORE\x00" {
				t.Fatalf("note named %q", b[12:17])
			}
			all[kind] = append(all[kind], b[20:20+size])
			b = b[20+(size+3)&^3:]
		}
	}
	return all
}

func memoryOf(t *testing.T, pid int, q agent.Request) []got {
	t.Helper()
	q.Kind = "memory"
	return collect(t, New(Options{TargetPID: pid}), q)
}

// TestCore: the memory of a process that runs on is a core, with what it holds at its
// address, and nothing of what it never used.
func TestCore(t *testing.T) {
	dir := t.TempDir()
	pid := start(t, alone(suspect("loot "+dir+"/loot")))
	at, page := injectedAt(t, pid), uint64(os.Getpagesize())
	g := one(t, memoryOf(t, pid, agent.Request{Memory: strconv.Itoa(pid)}), "memory")
	if !g.trailer.Changed || !strings.Contains(strings.Join(g.trailer.Notes, " "), "was not stopped") {
		t.Errorf("the entry does not say that the process ran on: %+v", g.trailer)
	}
	f := coreOf(t, g)
	if b := peek(t, f, at, len(shellcode)); string(b) != shellcode {
		t.Errorf("at %#x: %q", at, b)
	}
	if b := peek(t, f, at+2*page, 10); string(b) != "THIRD-PAGE" {
		t.Errorf("at the third page: %q", b)
	}
	for _, never := range []uint64{at + page, at + 3*page} {
		if b := peek(t, f, never, 1); b != nil {
			t.Errorf("%#x was never used, and is stored", never)
		}
	}
	notes := notesOf(t, f)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	must(t, err)
	if a := notes[noteAuxv]; len(a) != 1 || !bytes.Equal(a[0], raw) {
		t.Errorf("auxiliary vector: %x", a)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	must(t, err)
	if n := len(notes[noteStatus]); n != len(tasks) {
		t.Errorf("%d threads, want %d", n, len(tasks))
	}
	files := notes[noteFile]
	if len(files) != 1 || !bytes.Contains(files[0], []byte("loot.so (deleted)\x00")) {
		t.Errorf("files: %q", files)
	}
	if info := notes[noteInfo]; len(info) != 1 || len(info[0]) != 136 || binary.LittleEndian.Uint32(info[0][24:]) != uint32(pid) {
		t.Errorf("process: %x", info)
	}
	exe, err := os.Executable()
	must(t, err)
	debugger(t, g.bytes, exe, at)
}

// debugger lets another program open the core.
func debugger(t *testing.T, core []byte, exe string, at uint64) {
	t.Helper()
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		t.Log("no gdb here: the core was parsed by debug/elf only")
		return
	}
	path := t.TempDir() + "/core"
	must(t, os.WriteFile(path, core, 0o600))
	cmd := exec.CommandContext(t.Context(), gdb, "-nx", "-batch", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off",
		"-ex", fmt.Sprintf("x/s %#x", at+4), "-ex", "info threads", "-ex", "info auxv", "-ex", "info proc mappings", exe, path)
	cmd.Env = []string{"HOME=" + t.TempDir(), "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	for _, want := range []string{`"SHELLCODE-CONTROL"`, "LWP", "AT_ENTRY", "loot.so (deleted)"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("gdb does not show %s: %v\n%s", want, err, out)
		}
	}
}

// TestCoreOfCodeOnly: executable memory without a file, and nothing else; a budget keeps
// the core whole and takes that first.
func TestCoreOfCodeOnly(t *testing.T) {
	pid := start(t, alone(suspect("loot "+t.TempDir()+"/loot")))
	at := injectedAt(t, pid)
	of := func(q agent.Request) got {
		for _, g := range memoryOf(t, pid, q) {
			if strings.Contains(g.Detail, fmt.Sprintf("process %d,", pid)) {
				return g
			}
		}
		t.Fatalf("nothing of process %d", pid)
		return got{}
	}
	g := of(agent.Request{})
	f := coreOf(t, g)
	if b := peek(t, f, at, len(shellcode)); string(b) != shellcode {
		t.Errorf("at %#x: %q", at, b)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X == 0 {
			t.Errorf("a segment that cannot run: %+v", p.ProgHeader)
		}
	}
	if g.err != nil || len(g.bytes) > 1<<20 {
		t.Errorf("%d bytes, %v", len(g.bytes), g.err)
	}
	page := int64(os.Getpagesize())
	g = of(agent.Request{Memory: strconv.Itoa(pid), MaxBytes: page})
	if !errors.Is(g.err, ErrLimit) {
		t.Errorf("a core that was cut ended with %v", g.err)
	}
	f = coreOf(t, g)
	if b := peek(t, f, at, len(shellcode)); string(b) != shellcode {
		t.Errorf("within the budget, at %#x: %q", at, b)
	}
	stored := uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			stored += p.Filesz
		}
	}
	if stored != uint64(page) {
		t.Errorf("%d bytes of memory stored with a budget of %d", stored, page)
	}
}

// TestCoreOfAVastReservation: address space that is only reserved costs neither time nor
// bytes, and is told of.
func TestCoreOfAVastReservation(t *testing.T) {
	pid := start(t, alone(suspect("reserve")))
	g := one(t, memoryOf(t, pid, agent.Request{Memory: strconv.Itoa(pid)}), "memory")
	f := coreOf(t, g)
	if len(f.Progs) < 10 || !strings.Contains(strings.Join(g.trailer.Notes, " "), "vast regions") {
		t.Errorf("%d segments, %q", len(f.Progs), g.trailer.Notes)
	}
}

// TestCoreOfNobody: what cannot be had is said, and words that are none are refused.
func TestCoreOfNobody(t *testing.T) {
	pid := start(t, alone(suspect("wait")))
	if all := memoryOf(t, pid, agent.Request{Memory: "2147483646"}); len(all) != 1 || all[0].Absent == nil {
		t.Errorf("%+v", all)
	}
	for _, word := range []string{"everything", "-1", "0", "1; rm"} {
		if _, err := collectContext(t.Context(), New(Options{TargetPID: pid}), agent.Request{Kind: "memory", Memory: word}); !errors.Is(err, ErrMemory) {
			t.Errorf("memory %q: %v", word, err)
		}
	}
	for _, g := range memoryOf(t, pid, agent.Request{}) {
		if g.Absent == nil && len(g.bytes) != 0 && len(coreOf(t, g).Progs) < 2 {
			t.Errorf("%+v %d bytes", g.Header, len(g.bytes))
		}
	}
}

// FuzzCore: whatever the kernel's words are, a core's parts keep their sizes.
func FuzzCore(f *testing.F) {
	f.Add([]byte("0 0x3 0x7ffc 0x400 0x0 0x0 0x0 0x7ffc10 0x7f12"), "a\x00b", uint64(1))
	f.Add([]byte("-1 0x7ffc10 0x7f12"), "", uint64(0))
	f.Add([]byte("running"), "\xff\n", uint64(9<<20))
	f.Fuzz(func(t *testing.T, line []byte, name string, n uint64) {
		w, _ := parseSyscall(line)
		_, want := machine()
		if r := w.registers(); len(r) != want {
			t.Fatalf("%d registers", len(r))
		}
		s := stat{comm: name, state: name, ppid: int(n)}
		if b := infoNote(Process{PID: 1}, s, line); len(b) != 20+136 {
			t.Fatalf("process in %d bytes", len(b))
		}
		if b := statusNote(s, 1, w.registers()); len(b)%4 != 0 || int(binary.LittleEndian.Uint32(b[4:])) != 120+8*want {
			t.Fatalf("status in %d bytes", len(b))
		}
		if b := fileNote([]mapped{{1, 2, n, name}, {3, 4, 0, ""}}, 4096); len(b)%4 != 0 || int(binary.LittleEndian.Uint32(b[4:])) != 16+48+len(name)+2 {
			t.Fatalf("files in %d bytes", len(b))
		}
		p := corePlan{segments: []segment{{from: 0, to: n % (1 << 40), weight: 1}, {from: 1 << 41, to: 1<<41 + 4096}}}
		p.spend(uint64(len(line)))
		if len(line) > 0 && p.stored() > uint64(len(line)) {
			t.Fatalf("%d bytes with a budget of %d", p.stored(), len(line))
		}
	})
}
