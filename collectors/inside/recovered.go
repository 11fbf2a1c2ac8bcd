//go:build linux

package inside

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Lost is one line of the artifact recovered-index: a file whose name is gone or never
// was, and that a process still runs, holds open or maps.
type Lost struct {
	PID       int    `json:"pid"`
	Comm      string `json:"comm"`
	How       string `json:"how"` // exe, fd, map
	FD        *int   `json:"fd,omitempty"`
	Map       string `json:"map,omitempty"`
	Target    string `json:"target"`
	TargetB64 string `json:"target_b64,omitempty"`
	Dev       string `json:"dev"`
	Inode     uint64 `json:"inode"`
	Size      int64  `json:"size"`
	Content   string `json:"content"` // stored, left-out, unread
	Reason    string `json:"reason,omitempty"`

	at, target string
	id         identity
	plain      bool       // a kernel's file system holds it: no server can hold it back
	parts      []OpenFile // mappings to read it from, in order of the file
}

// maxLost bounds the list.
const maxLost = 4096

// recovered tells what is lost by name, and then gives the bytes of each, once for each
// file: deleted executables, memory files, deleted files that are open or mapped.
func (b beside) recovered(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("recovered-index", "jsonl", jsonLines, collectors.RankRecovered, evidence.Internal)
	var all []Lost
	err := b.each(ctx, h, q, emit, func(o *out, v view, pid int) (bool, error) {
		if all == nil {
			all = b.lost(ctx, v, q, o)
			for _, l := range all {
				if err := o.line(l); err != nil {
					return true, err
				}
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, l := range all {
		if err := b.recover(ctx, q, l, emit); err != nil {
			return err
		}
	}
	return nil
}

// lost looks through every process of the target; executables come first.
func (b beside) lost(ctx context.Context, v view, q agent.Request, o *out) []Lost {
	all := []Lost{}
	seen := map[identity]bool{}
	mounts := b.mountsOf(q.SkipMounts)
	add := func(l Lost, lost func(meta) bool) {
		if len(all) == maxLost {
			o.note("more than %d lost files: the list is cut", maxLost)
			return
		}
		l.Target, l.TargetB64 = text(l.target)
		handle, err := unix.Open(l.at, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			// The kernel opens mappings only to CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
			if l.How != "map" || gone(err) || slices.ContainsFunc(all, func(o Lost) bool { return o.target == l.target && (o.Inode == l.Inode || o.PID == l.PID) }) {
				return
			}
			if why := mounts.leftDevice(l.Dev); why != "" {
				l.Content, l.Reason = leftOut, why
			} else if l.parts = v.parts(l); len(l.parts) == 0 {
				l.Content, l.Reason = unread, "open: "+cause(err)
			} else {
				last := l.parts[len(l.parts)-1]
				l.Content, l.Size = stored, int64(last.offset+last.to-last.from)
			}
			all = append(all, l)
			return
		}
		defer unix.Close(handle)
		m, err := metaOf(handle)
		if err != nil || m.kind() != unix.S_IFREG || !lost(m) || seen[m.identity] {
			return
		}
		seen[m.identity] = true
		info, known := mounts.by(m.mount)
		l.plain = strings.HasPrefix(l.target, "/memfd:") || (known && !userSpace(info))
		l.id, l.Dev, l.Inode, l.Size, l.Content = m.identity, device(m.Dev), m.Ino, m.size, stored
		if why, _ := mounts.left(m.mount); why != "" {
			l.Content, l.Reason = leftOut, why
		}
		all = append(all, l)
	}
	nameless := func(m meta) bool { return m.nlink == 0 }
	pids, err := b.proc.pids()
	if err != nil {
		o.note("list processes: %s", cause(err))
	}
	own := pids[:0]
	for _, pid := range pids {
		if !v.ours(pid) && v.own(pid, b.cgroup(pid)) {
			own = append(own, pid)
		}
	}
	comm := func(pid int) string {
		raw, _, _ := b.proc.read(8<<10, b.proc.of(pid, "stat"))
		s, _ := parseStat(raw)
		name, _ := text(s.comm)
		return name
	}
	for _, pid := range own {
		at := b.proc.of(pid, "exe")
		if target, err := os.Readlink(at); err == nil {
			memfd := strings.HasPrefix(target, "/memfd:")
			if memfd || strings.HasSuffix(target, " (deleted)") {
				add(Lost{PID: pid, Comm: comm(pid), How: "exe", at: at, target: target}, func(m meta) bool {
					return memfd || nameless(m) || !v.named(target, m.identity)
				})
			}
		}
	}
	for _, pid := range own {
		name := comm(pid)
		err := v.descriptors(pid, func(x any) error {
			f := x.(OpenFile)
			if f.Type == "file" && (f.Deleted || f.Memfd || (f.NLink != nil && *f.NLink == 0)) {
				add(Lost{PID: pid, Comm: name, How: "fd", FD: f.FD, at: b.proc.of(pid, "fd", strconv.Itoa(*f.FD)), target: f.target}, func(meta) bool { return true })
			}
			return ctx.Err()
		})
		if err != nil && ctx.Err() == nil {
			o.note("descriptors of process %d: %s", pid, cause(err))
		}
		_ = v.mappings(pid, func(m OpenFile) error {
			if m.Deleted && m.Inode != 0 && !strings.HasPrefix(m.target, "/SYSV") && !strings.HasPrefix(m.target, "/dev/zero") {
				add(Lost{PID: pid, Comm: name, How: "map", Map: m.Map, Inode: m.Inode, Dev: m.Dev, at: b.proc.of(pid, "map_files", mapFile(m.Map)), target: m.target}, func(meta) bool { return true })
			}
			return ctx.Err()
		})
	}
	return all
}

// mapFile names a mapping as /proc/<pid>/map_files does: without leading zeros.
func mapFile(span string) string {
	from, to, _ := strings.Cut(span, "-")
	return strings.TrimLeft(from, "0") + "-" + strings.TrimLeft(to, "0")
}

// recover gives the bytes of one lost file.
func (b beside) recover(ctx context.Context, q agent.Request, l Lost, emit Emit) error {
	h := b.header("recovered", "bin", "application/octet-stream", collectors.RankRecovered, evidence.Restricted)
	h.OrigName = []byte(l.target)
	h.Detail = fmt.Sprintf("%s of process %d, inode %d", l.How, l.PID, l.Inode)
	switch l.Content {
	case leftOut:
		return absent(h, evidence.LeftOut, emit, "%s", l.Reason)
	case unread:
		return absent(h, evidence.Impossible, emit, "%s", l.Reason)
	}
	if l.parts != nil {
		return b.fromMemory(ctx, q, h, l, emit)
	}
	handle, err := unix.Open(l.at, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return absent(h, evidence.Impossible, emit, "gone since it was found: %s", cause(err))
	}
	defer unix.Close(handle)
	m, err := metaOf(handle)
	if err != nil || m.identity != l.id {
		return absent(h, evidence.Impossible, emit, "closed since it was found")
	}
	wait := newPatience(b.Budgets.Wait, 1)
	f, err := await(wait, func() (*os.File, error) { return open(handle) })
	if err != nil {
		return absent(h, evidence.Impossible, emit, "open: %s", cause(err))
	}
	defer f.Close()
	limit := b.Budgets.Recover
	if q.MaxBytes > 0 {
		limit = min(limit, q.MaxBytes)
	}
	if l.plain && !whole(extents(f, m), m.size) {
		return b.sparse(ctx, h, l, handle, limit, emit)
	}
	return stream(ctx, h, 0, emit, func(o *out) error {
		o.trailer.Size = m.size
		n, err := io.CopyBuffer(struct{ io.Writer }{o}, &patient{ctx, &timed{p: wait, r: io.LimitReader(f, min(m.size, limit))}}, make([]byte, 128<<10))
		after, e := metaOf(int(f.Fd()))
		if e != nil || after.size != m.size || !after.mtime.Equal(m.mtime) {
			o.changed("size %d and time %s before, %d and %s after", m.size, m.mtime.Format(time.RFC3339Nano), after.size, after.mtime.Format(time.RFC3339Nano))
		}
		if err == nil && m.size > limit && n == limit {
			err = fmt.Errorf("%d of %d bytes: %w", n, m.size, ErrLimit)
		}
		return err
	})
}

// sparse gives a lost file with holes as the only entry of a tar: as plain bytes, a
// memory file that was only reserved would have no end.
func (b beside) sparse(ctx context.Context, h agent.Header, l Lost, handle int, limit int64, emit Emit) error {
	h.Ext, h.MediaType = "tar", "application/x-tar"
	h.Detail += ", sparse"
	return stream(ctx, h, limit, emit, func(o *out) error {
		a, err := newArchive(ctx, o)
		if err != nil {
			return err
		}
		n := Name{}
		if err := a.file(&n, "/recovered", handle, nil); err != nil {
			return err
		}
		if n.Content != stored {
			o.note("not stored: %s", n.Reason)
		}
		return a.close()
	})
}
