//go:build linux

package inside

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// OpenFile is one line of the artifact open-files: a descriptor, or a mapping that
// names a file or is writable and executable at once.
type OpenFile struct {
	PID       int      `json:"pid"`
	FD        *int     `json:"fd,omitempty"`
	Map       string   `json:"map,omitempty"` // address range of a mapping
	Perms     string   `json:"perms,omitempty"`
	Target    string   `json:"target"` // as the kernel names it
	TargetB64 string   `json:"target_b64,omitempty"`
	Type      string   `json:"type,omitempty"`
	Dev       string   `json:"dev,omitempty"`
	Inode     uint64   `json:"inode,omitempty"`
	Mode      string   `json:"mode,omitempty"`
	Size      *int64   `json:"size,omitempty"`
	NLink     *uint64  `json:"nlink,omitempty"`
	Flags     string   `json:"flags,omitempty"` // octal
	FlagNames []string `json:"flag_names,omitempty"`
	Pos       *int64   `json:"pos,omitempty"`
	Mount     int      `json:"mount_id,omitempty"`
	Deleted   bool     `json:"deleted,omitempty"`
	Memfd     bool     `json:"memfd,omitempty"`
	// BPF is what the kernel says of a program, map or link that is held open.
	BPF    map[string]string `json:"bpf,omitempty"`
	Unread string            `json:"unread,omitempty"`

	target           string
	from, to, offset uint64 // of a mapping
}

func (b beside) openFiles(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("open-files", "jsonl", jsonLines, collectors.RankProcess, evidence.Restricted)
	return b.each(ctx, h, q, emit, func(o *out, v view, pid int) (bool, error) {
		err := v.descriptors(pid, o.line)
		if err != nil {
			var f failure
			if !errors.As(err, &f) {
				return true, err
			}
			if !gone(f.error) {
				if err := o.line(OpenFile{PID: pid, Unread: "descriptors: " + cause(f.error)}); err != nil {
					return true, err
				}
			}
			return false, nil
		}
		return true, v.mappings(pid, func(m OpenFile) error { return o.line(m) })
	})
}

// failure is an error of the source, where errors of the receiver can come too.
type failure struct{ error }

// descriptors passes each descriptor of a process to fn.
func (v view) descriptors(pid int, fn func(any) error) error {
	d, err := os.Open(v.proc.of(pid, "fd"))
	if err != nil {
		return failure{err}
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			fd, e := strconv.Atoi(name)
			if e != nil {
				continue
			}
			if f, ok := v.descriptor(pid, fd); ok {
				if err := fn(f); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return nil
		}
	}
}

func (v view) descriptor(pid, fd int) (OpenFile, bool) {
	at := v.proc.of(pid, "fd", strconv.Itoa(fd))
	target, err := os.Readlink(at)
	if gone(err) {
		return OpenFile{}, false
	}
	f := OpenFile{PID: pid, FD: &fd, target: target}
	if err != nil {
		f.Unread = cause(err)
		return f, true
	}
	f.Target, f.TargetB64 = text(target)
	f.Memfd = strings.HasPrefix(target, "/memfd:")
	if raw, _, err := v.proc.read(16<<10, v.proc.of(pid, "fdinfo", strconv.Itoa(fd))); err == nil {
		f.info(raw)
	}
	// What the link leads to is looked at, not opened: opening would act on FIFOs and devices.
	m, err := metaPath(at)
	if err != nil {
		f.Unread = cause(err)
		return f, true
	}
	nlink := uint64(m.nlink)
	f.Type, f.Dev, f.Inode, f.Size, f.NLink = typeNames[m.kind()], device(m.Dev), m.Ino, &m.size, &nlink
	f.Mode = "0" + strconv.FormatUint(uint64(m.mode&0o7777), 8)
	f.Deleted = strings.HasSuffix(target, " (deleted)") && (nlink == 0 || f.Memfd || !v.named(target, m.identity))
	return f, true
}

// named tells a file that has this very name: one may really end in " (deleted)".
func (v view) named(target string, of identity) bool {
	id, err := await(v.wait, func() (identity, error) {
		root, err := openTree(v.proc.of(v.TargetPID, "root"))
		if err != nil {
			return identity{}, err
		}
		defer root.Close()
		return root.identify(target)
	})
	return err == nil && id == of
}

// info reads /proc/<pid>/fdinfo/<fd> (proc_pid_fdinfo(5)).
func (f *OpenFile) info(raw []byte) {
	for line := range bytes.Lines(raw) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "pos":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				f.Pos = &n
			}
		case "flags":
			f.Flags, _ = text(value)
			if n, err := strconv.ParseUint(value, 8, 64); err == nil {
				f.FlagNames = openFlags(n)
			}
		case "mnt_id":
			f.Mount = number(value, 0)
		case "prog_type", "prog_id", "prog_tag", "prog_jited", "map_type", "map_id", "link_type", "link_id", "attach_type", "ifindex":
			if f.BPF == nil {
				f.BPF = map[string]string{}
			}
			f.BPF[key], _ = text(value)
		}
	}
}

func openFlags(n uint64) []string {
	names := []string{[]string{"RDONLY", "WRONLY", "RDWR", "ACCMODE"}[n&unix.O_ACCMODE]}
	for _, f := range []struct {
		bit  uint64
		name string
	}{
		{unix.O_APPEND, "APPEND"}, {unix.O_NONBLOCK, "NONBLOCK"}, {unix.O_SYNC, "SYNC"}, {unix.O_DIRECT, "DIRECT"},
		{unix.O_NOATIME, "NOATIME"}, {unix.O_CLOEXEC, "CLOEXEC"}, {unix.O_PATH, "PATH"}, {unix.O_DIRECTORY, "DIRECTORY"},
	} {
		if n&f.bit == f.bit {
			names = append(names, f.name)
		}
	}
	return names
}

// mappings passes the first mapping of each file of a process to fn, and those that
// can be written and run at once.
func (v view) mappings(pid int, fn func(OpenFile) error) error {
	raw, _, err := v.memory(maxMaps, v.proc.of(pid, "maps"))
	if err != nil {
		return nil
	}
	var seen []string
	for line := range bytes.Lines(raw) {
		m, ok := parseMapping(strings.TrimSuffix(string(line), "\n"))
		if !ok {
			continue
		}
		file := strings.HasPrefix(m.target, "/")
		open := strings.Contains(m.Perms, "w") && strings.Contains(m.Perms, "x")
		key := m.Dev + " " + strconv.FormatUint(m.Inode, 10)
		if !open && (!file || slices.Contains(seen, key)) {
			continue
		}
		if len(seen) < 4096 {
			seen = append(seen, key)
		}
		m.PID = pid
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// parseMapping reads one line of /proc/<pid>/maps (proc_pid_maps(5)). Names stay as
// the kernel writes them: a line feed as \012, which another name may hold as it is.
func parseMapping(line string) (OpenFile, bool) {
	f := strings.SplitN(line, " ", 6)
	if len(f) < 5 || len(f[1]) != 4 {
		return OpenFile{}, false
	}
	from, to, ok := span(f[0])
	offset, err1 := strconv.ParseUint(f[2], 16, 64)
	inode, err2 := strconv.ParseUint(f[4], 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return OpenFile{}, false
	}
	m := OpenFile{Inode: inode, Type: "mapping", from: from, to: to, offset: offset}
	m.Map, _ = text(f[0])
	m.Perms, _ = text(f[1])
	if major, minor, ok := strings.Cut(f[3], ":"); ok {
		a, err1 := strconv.ParseUint(major, 16, 32)
		b, err2 := strconv.ParseUint(minor, 16, 32)
		if err1 == nil && err2 == nil {
			m.Dev = device(unix.Mkdev(uint32(a), uint32(b)))
		}
	}
	if len(f) == 6 {
		m.target = strings.TrimLeft(f[5], " ")
		m.Target, m.TargetB64 = text(m.target)
		m.Memfd = strings.HasPrefix(m.target, "/memfd:")
		m.Deleted = strings.HasSuffix(m.target, " (deleted)")
	}
	return m, true
}

// span reads an address range.
func span(s string) (from, to uint64, ok bool) {
	a, b, _ := strings.Cut(s, "-")
	from, err1 := strconv.ParseUint(a, 16, 64)
	to, err2 := strconv.ParseUint(b, 16, 64)
	return from, to, err1 == nil && err2 == nil && from < to
}
