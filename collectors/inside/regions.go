//go:build linux

package inside

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"irkit.dev/irkit/evidence"
)

// Maps is what a process's memory is made of, in numbers; what deserves a look is named.
type Maps struct {
	Regions    int    `json:"regions"`
	Bytes      uint64 `json:"bytes"` // of address space
	Files      int    `json:"files"` // regions that name a file
	Executable int    `json:"executable"`
	WriteExec  int    `json:"write_exec"` // writable and executable at once
	Cut        bool   `json:"cut,omitempty"`
	// AnonExec are executable regions that no file stands behind: code that was made or
	// brought in while the process ran, by a just-in-time compiler or by an intruder.
	AnonExec []Region `json:"anon_exec,omitempty"`
	// LostExec are executable regions of files whose name is gone.
	LostExec []Region `json:"lost_exec,omitempty"`
}

// Region is one range of a process's memory.
type Region struct {
	Map     string `json:"map"`
	Perms   string `json:"perms"`
	Name    string `json:"name,omitempty"` // as the kernel names it
	NameB64 string `json:"name_b64,omitempty"`
	Inode   uint64 `json:"inode,omitempty"`
	Size    uint64 `json:"size"`
	// SHA256 is of the whole region; pages that were never used, or could not be read
	// (Unread bytes), count as zeros.
	SHA256 *evidence.Digest `json:"sha256,omitempty"`
	Head   string           `json:"head,omitempty"` // its first 16 bytes, hexadecimal
	Unread uint64           `json:"unread_bytes,omitempty"`
	Why    string           `json:"unread,omitempty"` // why there is no digest
}

const (
	maxMaps    = 8 << 20  // bytes of /proc/<pid>/maps
	maxNamed   = 64       // regions of each sort that are named, per process
	maxRegion  = 64 << 20 // bytes of one region that is digested
	headLength = 16
)

// anonymous tells an executable region without a file. The kernel's own code, which it
// maps into every process, is not meant.
func (m OpenFile) anonymous() bool {
	switch m.target {
	case "[vdso]", "[vsyscall]", "[uprobes]", "[vectors]", "[sigpage]":
		return false
	}
	return !strings.HasPrefix(m.target, "/") && !strings.HasPrefix(m.target, "anon_inode:")
}

// regions passes every mapping of a process to fn, and says whether there were more.
func (v view) regions(pid int, fn func(OpenFile)) (more bool, err error) {
	raw, more, err := v.memory(maxMaps, v.proc.of(pid, "maps"))
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(raw) {
		if m, ok := parseMapping(strings.TrimSuffix(string(line), "\n")); ok {
			fn(m)
		}
	}
	return more, nil
}

// maps sums up the memory of a process, and digests executable regions that no name on
// disk stands for. d bounds what all of them cost.
func (v view) maps(ctx context.Context, p *Process, d *digests) {
	sum := &Maps{}
	more, err := v.regions(p.PID, func(m OpenFile) {
		sum.Regions++
		sum.Bytes += m.to - m.from
		if strings.HasPrefix(m.target, "/") {
			sum.Files++
		}
		if !strings.Contains(m.Perms, "x") {
			return
		}
		sum.Executable++
		if strings.Contains(m.Perms, "w") {
			sum.WriteExec++
		}
		r := Region{Map: m.Map, Perms: m.Perms, Name: m.Target, NameB64: m.TargetB64, Inode: m.Inode, Size: m.to - m.from}
		switch {
		case m.anonymous() && len(sum.AnonExec) < maxNamed:
			sum.AnonExec = append(sum.AnonExec, r)
		case m.Deleted && len(sum.LostExec) < maxNamed && (m.target != p.exe || p.ExeDeleted || p.Memfd):
			sum.LostExec = append(sum.LostExec, r)
		}
	})
	if err != nil {
		p.missed("maps", err)
		return
	}
	sum.Cut = more
	if sum.Regions > 0 { // a kernel thread has none
		p.Maps = sum
	}
	if len(sum.AnonExec)+len(sum.LostExec) == 0 {
		return
	}
	mem, err := v.openMemory(p.PID)
	if err != nil {
		p.missed("mem", err)
		return
	}
	defer mem.Close()
	for _, rs := range [][]Region{sum.AnonExec, sum.LostExec} {
		for i := range rs {
			if ctx.Err() == nil {
				mem.digest(ctx, &rs[i], d)
			}
		}
	}
}

// digest fills in what a region holds.
func (m *memory) digest(ctx context.Context, r *Region, d *digests) {
	if r.Size > maxRegion || d.memory+int64(r.Size) > d.max {
		r.Why = fmt.Sprintf("not read: larger than %d bytes, or too much in all", maxRegion)
		return
	}
	d.memory += int64(r.Size)
	from, _, ok := span(r.Map)
	if !ok {
		return
	}
	h, first := sha256.New(), true
	read := m.copy
	if r.Inode != 0 {
		read = m.read // a page of a file that the process did not use yet is not zeros
	}
	unread, err := read(ctx, from, from+r.Size, func(b []byte) error {
		if first {
			r.Head, first = hex.EncodeToString(b[:min(len(b), headLength)]), false
		}
		_, err := h.Write(b)
		return err
	})
	r.Unread = unread
	if err != nil {
		r.Head, r.Why = "", cause(err)
		return
	}
	if unread == r.Size {
		r.Head, r.Why = "", "not one of its pages may be read"
		return
	}
	r.SHA256 = new(evidence.Digest)
	h.Sum(r.SHA256[:0])
}

// openMemory opens what a process has in memory. Nothing in the process stops for it.
func (v view) openMemory(pid int) (*memory, error) {
	f, err := await(v.wait, func() (*os.File, error) { return os.Open(v.proc.of(pid, "mem")) })
	if err != nil {
		return nil, err
	}
	m := &memory{mem: f, wait: v.wait, page: uint64(os.Getpagesize())}
	// Without it every page is asked for, those too that were never used.
	m.pages, _ = await(v.wait, func() (*os.File, error) { return os.Open(v.proc.of(pid, "pagemap")) })
	return m, nil
}
