//go:build linux

package inside

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// read fills both tables. The sockets are those of the calling thread's network
// namespace, unless a fixture stands in for /proc.
func (b beside) read(ctx context.Context) (*Tables, error) {
	t := &Tables{Read: time.Now().UTC()}
	defer func() { t.Took = time.Since(t.Read) }()
	sockets, notes, errS := b.sockets()
	t.Sockets, t.Notes = sockets, notes
	v := b.look()
	v.wait = newPatience(100*time.Millisecond, 3) // the cut waits for the opening
	pids, errP := b.proc.pids()
	if errP != nil && errS != nil {
		return nil, fmt.Errorf("list processes: %w", errP)
	}
	owners := map[uint64][]Owner{}
	descriptors := 0
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(t.Processes) == b.Budgets.Processes {
			t.Notes = append(t.Notes, fmt.Sprintf("more than %d processes: the table is cut", b.Budgets.Processes))
			break
		}
		p, ok := v.process(pid, opening)
		if !ok {
			continue
		}
		t.Processes = append(t.Processes, p)
		if descriptors < maxDescriptors {
			descriptors += v.holds(p, owners)
		}
	}
	if descriptors >= maxDescriptors {
		t.Notes = append(t.Notes, "too many descriptors: not every socket's owner was looked for")
	}
	for i := range t.Sockets {
		t.Sockets[i].Owners = owners[t.Sockets[i].Inode]
		delete(owners, t.Sockets[i].Inode)
	}
	v.unlisted(t, owners)
	return t, nil
}

// maxUnlisted bounds the sockets that are in no table.
const maxUnlisted = 1024

// unlisted adds the sockets that processes hold and that no table tells of: each kind that
// the kernel lists nowhere would else be a way to stay unseen.
func (v view) unlisted(t *Tables, owners map[uint64][]Owner) {
	for _, inode := range slices.Sorted(maps.Keys(owners)) {
		held := owners[inode]
		if held[0].Self {
			continue
		}
		if len(t.Sockets) >= v.Budgets.Sockets+maxUnlisted {
			t.Notes = append(t.Notes, "too many sockets that are in no table: the rest is not told")
			return
		}
		s := Socket{Opened: opening, Proto: "other", Inode: inode, Owners: held}
		// sockfs names the protocol (net/socket.c, sockfs_xattr_get).
		name, err := await(v.wait, func() (string, error) {
			name := make([]byte, 64)
			n, err := unix.Getxattr(v.proc.of(held[0].PID, "fd", held[0].fd), "system.sockprotoname", name)
			return string(name[:max(n, 0)]), err
		})
		if err == nil {
			s.Kernel, _ = text(strings.TrimRight(name, "\x00"))
		}
		t.Sockets = append(t.Sockets, s)
	}
}

// maxDescriptors bounds the search for the owners of sockets.
const maxDescriptors = 200_000

// holds adds the sockets that a process holds, and counts its descriptors.
func (v view) holds(p Process, owners map[uint64][]Owner) int {
	d, err := os.Open(v.proc.of(p.PID, "fd"))
	if err != nil {
		return 0
	}
	defer d.Close()
	n := 0
	for n < maxDescriptors {
		names, err := d.Readdirnames(1024)
		for _, fd := range names {
			n++
			link, err := os.Readlink(v.proc.of(p.PID, "fd", fd))
			if err != nil {
				continue
			}
			if inode := bracketed(link, "socket:"); inode != 0 && len(owners[inode]) < 16 {
				owners[inode] = append(owners[inode], Owner{PID: p.PID, Comm: p.Comm, Exe: p.Exe, Self: p.Self, fd: fd})
			}
		}
		if err != nil {
			break
		}
	}
	return n
}

// processes tells of the opening's table, then reads it again with all that takes
// longer: digests of what runs, and what has its name on disk now.
func (b beside) processes(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("processes", "jsonl", jsonLines, collectors.RankMemory, evidence.Restricted)
	pids, err := b.proc.pids()
	if err != nil {
		return absent(h, evidence.Impossible, emit, "list processes: %s", cause(err))
	}
	return stream(ctx, h, q.MaxBytes, emit, func(o *out) error {
		if b.opening != nil {
			for _, note := range b.opening.Notes {
				o.note("%s", note)
			}
			for _, p := range b.opening.Processes {
				if err := o.line(p); err != nil {
					return err
				}
			}
		}
		v, d := b.look(), &digests{max: b.Budgets.HashBytes}
		root, err := openTree(b.proc.of(b.TargetPID, "root"))
		if err != nil {
			o.note("root of process %d: %s; names on disk were not compared", b.TargetPID, cause(err))
		} else {
			defer root.Close()
		}
		for _, pid := range pids {
			if err := ctx.Err(); err != nil {
				return err
			}
			p, ok := v.process(pid, now)
			if !ok {
				continue
			}
			v.detail(ctx, &p, d, root)
			if err := o.line(p); err != nil {
				return err
			}
		}
		return nil
	})
}

var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

// detail adds what is too slow for the opening. root may be nil.
func (v view) detail(ctx context.Context, p *Process, d *digests, root *tree) {
	for _, set := range []string{"prm", "bnd", "inh", "amb"} {
		if names := capabilities(p.Caps[set]); len(names) > 0 {
			if p.CapSets == nil {
				p.CapSets = map[string][]string{}
			}
			p.CapSets[set] = names
		}
	}
	for _, ns := range namespaces {
		if n := v.proc.namespace(p.PID, ns); n != 0 {
			if p.Namespaces == nil {
				p.Namespaces = map[string]uint64{}
			}
			p.Namespaces[ns] = n
		}
	}
	if !p.Self {
		p.EnvNames = v.envNames(p.PID)
		p.FDs = v.countFDs(p.PID)
		v.maps(ctx, p, d)
	}
	if p.exe == "" {
		return
	}
	v.digest(ctx, p, d)
	if root == nil || p.Self || !p.Target {
		p.Doubts, p.Spoofed = p.doubts(nil)
		return
	}
	v.onDisk(ctx, p, d, root)
	p.Doubts, p.Spoofed = p.doubts(func(path string) (identity, error) {
		return await(v.wait, func() (identity, error) { return root.identify(path) })
	})
}

// countFDs is the number of a process's descriptors; nil where they may not be seen.
func (v view) countFDs(pid int) *int {
	d, err := os.Open(v.proc.of(pid, "fd"))
	if err != nil {
		return nil
	}
	defer d.Close()
	n := 0
	for n < maxDescriptors {
		names, err := d.Readdirnames(1024)
		if n += len(names); err != nil {
			break
		}
	}
	return &n
}

// digest reads what runs, whatever its name.
func (v view) digest(ctx context.Context, p *Process, d *digests) {
	at := v.proc.of(p.PID, "exe")
	if m, err := metaPath(at); err == nil {
		p.ExeInode, p.ExeDev, p.ExeSize = m.Ino, m.Dev, m.size
		if m.kind() != unix.S_IFREG {
			return
		}
	}
	f, err := await(v.wait, func() (*os.File, error) { return os.Open(at) })
	if err != nil {
		p.missed("open exe", err)
		return
	}
	defer f.Close()
	sum, ok, err := d.of(ctx, v.wait, f)
	p.missed("digest exe", err)
	if ok {
		p.ExeSHA256 = &sum
	}
}

// onDisk compares what runs with what has its name now.
func (v view) onDisk(ctx context.Context, p *Process, d *digests, root *tree) {
	if p.Memfd || p.ExeInode == 0 {
		return
	}
	running := identity{p.ExeDev, p.ExeInode}
	if p.ExeDeleted && v.named(p.exe, running) {
		p.ExeDeleted = false // a name may really end so
		return
	}
	handle, err := await(v.wait, func() (int, error) {
		handle, _, err := root.resolve(strings.TrimSuffix(p.exe, " (deleted)"), true)
		return handle, err
	})
	if err != nil {
		return
	}
	defer unix.Close(handle)
	m, err := metaOf(handle)
	if err != nil || m.identity == running || m.kind() != unix.S_IFREG {
		return
	}
	p.Replaced = true
	f, err := await(v.wait, func() (*os.File, error) { return open(handle) })
	if err != nil {
		p.missed("open the name's file", err)
		return
	}
	defer f.Close()
	sum, ok, err := d.of(ctx, v.wait, f)
	p.missed("digest the name's file", err)
	if ok {
		p.DiskSHA256 = &sum
	}
}
