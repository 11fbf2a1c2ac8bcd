//go:build linux

package inside

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountTable knows the target's mounts by identifier, and which stay out.
type mountTable struct {
	root    *tree
	base    uint64 // mount of the root
	known   map[uint64]Mount
	points  map[string]uint64 // the topmost mount at a path
	secret  map[uint64]bool
	skipped map[uint64]bool
	again   func() []Mount // reads the table anew, for a mount that came after
	tries   int
	notes   []string
}

// newMountTable reads the table of the target; root may be nil. The points to leave
// out are the target's own words: links on the way are followed in its root. A path
// that is no mount is not left out.
func (b beside) newMountTable(root *tree, skip []string) *mountTable {
	t := &mountTable{root: root, secret: map[uint64]bool{}, skipped: map[uint64]bool{}}
	t.again = func() []Mount {
		raw, _, err := b.proc.read(16<<20, b.proc.of(b.TargetPID, "mountinfo"))
		if err != nil {
			t.notes = append(t.notes, "mount table: "+cause(err)+"; every mount below the root is left out")
		}
		mounts, _ := parseMounts(raw)
		return mounts
	}
	t.fill()
	t.base = t.points["/"]
	if root != nil {
		if m, err := metaOf(root.fd); err == nil && m.hasMount {
			t.base = m.mount
		}
	}
	for _, p := range skip {
		if !t.skip(path.Clean("/" + p)) {
			t.notes = append(t.notes, fmt.Sprintf("mount point %q to leave out is no mount here", p))
		}
	}
	return t
}

// mountsOf is the table alone, for one who opens nothing by path.
func (b beside) mountsOf(skip []string) *mountTable {
	root, err := openTree(b.proc.of(b.TargetPID, "root"))
	if err != nil {
		return b.newMountTable(nil, skip)
	}
	t := b.newMountTable(root, skip)
	_ = root.Close()
	t.root = nil
	return t
}

func (t *mountTable) fill() {
	t.known, t.points = map[uint64]Mount{}, map[string]uint64{}
	mounts := t.again()
	for _, m := range mounts {
		t.known[uint64(m.ID)] = m
		t.points[m.point] = uint64(m.ID)
	}
	if t.root != nil {
		t.root.barred = func(id uint64) bool { return userSpace(t.known[id]) }
	}
	for _, m := range mounts {
		if secretMount(m) || t.atomicVolume(m) {
			t.secret[uint64(m.ID)] = true
		}
	}
}

// userSpace tells a file system whose server is a program, maybe the target's.
func userSpace(m Mount) bool { return strings.HasPrefix(m.FS, "fuse") }

// atomicVolume tells the kubelet's atomic writer by its shape: a read-only tmpfs
// whose link ..data leads to ..<time>. Where the target could write, the same
// names prove nothing, and nothing is left out for them.
func (t *mountTable) atomicVolume(m Mount) bool {
	if t.root == nil || m.FS != "tmpfs" || !slices.Contains(strings.Split(m.Options, ","), "ro") {
		return false
	}
	fd, _, err := t.root.resolve(m.point+"/..data", false)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	target, err := readlink(fd)
	return err == nil && atomicFolder(target)
}

// by is the mount with an identifier; the table is read again for an unknown one, a
// few times.
func (t *mountTable) by(id uint64) (Mount, bool) {
	m, ok := t.known[id]
	if !ok && t.tries < 16 {
		t.tries++
		t.fill()
		m, ok = t.known[id]
	}
	return m, ok
}

// of is the mount that an object is on. Kernels before 5.8 do not tell it with the
// object: there the table's mount points decide.
func (t *mountTable) of(m meta, p string, above uint64) uint64 {
	if m.hasMount {
		return m.mount
	}
	if id, ok := t.points[p]; ok {
		return id
	}
	return above
}

// left says why what is on a mount stays out, and whether as a secret.
func (t *mountTable) left(id uint64) (why string, secret bool) {
	switch {
	case t.secret[id]:
		return "secret, token, configmap or projected volume", true
	case t.skipped[id]:
		return "volume that was not asked for", false
	}
	return "", false
}

// leftDevice is the same for all that is on a device, where the mount cannot be told. The
// device of the root is never left out.
func (t *mountTable) leftDevice(dev string) (why string) {
	if t.known[t.base].Device == dev {
		return ""
	}
	for id, m := range t.known {
		if m.Device == dev {
			if why, _ := t.left(id); why != "" {
				return why
			}
		}
	}
	return ""
}

func (t *mountTable) skip(p string) (found bool) {
	if id, ok := t.points[p]; ok {
		t.skipped[id], found = true, true
	}
	if t.root == nil {
		return found
	}
	fd, real, err := t.root.resolve(p, true)
	if err != nil {
		return found
	}
	defer unix.Close(fd)
	if m, err := metaOf(fd); err == nil {
		if id := t.of(m, real, t.base); id != t.base {
			t.skipped[id], found = true, true
		}
	}
	return found
}
