//go:build linux

package inside

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree is the target's root directory. Names are opened one component at a time,
// without following links, from a descriptor: whatever the target puts there, nothing
// resolves in our own root, and a magic link of a mounted procfs is only its text.
type tree struct {
	fd int
	// barred tells mounts that no path goes on into; nil: none.
	barred func(mount uint64) bool
}

// openTree opens a root, as /proc/<pid>/root names it.
func openTree(p string) (*tree, error) {
	fd, err := unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &tree{fd: fd}, nil
}

func (t *tree) Close() error { return unix.Close(t.fd) }

var errUserSpace = errors.New("file system in user space: its server could hold the reader for ever")

// below opens one name in a directory as a mere handle (O_PATH): no device is opened,
// no FIFO waited for.
func below(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// resolve walks a path as the target's own processes would (symbolic links,
// absolute ones too, stay in its root), and gives a handle and the path without
// links. With last, a link in the last component is followed too.
func (t *tree) resolve(p string, last bool) (fd int, real string, err error) {
	type step struct {
		fd   int
		name string
	}
	root, err := unix.FcntlInt(uintptr(t.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, "", fmt.Errorf("resolve %q: %w", p, err)
	}
	stack := []step{{fd: root}}
	fail := func(err error) (int, string, error) {
		for _, s := range stack {
			unix.Close(s.fd)
		}
		return -1, "", fmt.Errorf("resolve %q: %w", p, err)
	}
	pop := func(to int) {
		for len(stack) > to {
			unix.Close(stack[len(stack)-1].fd)
			stack = stack[:len(stack)-1]
		}
	}
	todo := strings.Split(p, "/")
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			pop(max(1, len(stack)-1))
			continue
		}
		if len(stack) > 256 {
			return fail(unix.ENAMETOOLONG)
		}
		fd, err := below(stack[len(stack)-1].fd, name)
		if err != nil {
			return fail(err)
		}
		m, err := metaOf(fd)
		if err != nil {
			unix.Close(fd)
			return fail(err)
		}
		if len(todo) > 0 && t.barred != nil && m.hasMount && t.barred(m.mount) {
			unix.Close(fd)
			return fail(errUserSpace)
		}
		if m.kind() != unix.S_IFLNK || (len(todo) == 0 && !last) {
			stack = append(stack, step{fd, name})
			continue
		}
		target, err := readlink(fd)
		unix.Close(fd)
		if err != nil {
			return fail(err)
		}
		if links++; links > 40 {
			return fail(unix.ELOOP)
		}
		if strings.HasPrefix(target, "/") {
			pop(1)
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	real = "/"
	for _, s := range stack[1:] {
		real = path.Join(real, s.name)
	}
	fd = stack[len(stack)-1].fd
	stack = stack[:len(stack)-1]
	pop(0)
	return fd, real, nil
}

// identify is the file at a path, links followed.
func (t *tree) identify(p string) (identity, error) {
	fd, _, err := t.resolve(p, true)
	if err != nil {
		return identity{}, err
	}
	defer unix.Close(fd)
	m, err := metaOf(fd)
	return m.identity, err
}

// open reads the regular file behind a handle. The inode that was looked at is the one
// that is opened: no other can be swapped in between. Where the kernel lets us, its
// access time stays.
func open(handle int) (*os.File, error) {
	self := fmt.Sprintf("/proc/self/fd/%d", handle)
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NOATIME
	fd, err := unix.Open(self, flags, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(self, flags&^unix.O_NOATIME, 0)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), self), nil
}

func readlink(handle int) (string, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(handle, "", b)
		if err != nil {
			return "", err
		}
		if n < size || size > 64<<10 {
			return string(b[:n]), nil
		}
	}
}

// meta is what an inode says of itself.
type meta struct {
	identity
	mode                       uint32
	uid, gid, nlink            uint32
	size, blocks               int64
	rdev                       uint64
	atime, mtime, ctime, btime time.Time // btime is zero where the file system has none
	mount                      uint64
	hasMount                   bool
	attributes                 uint64 // STATX_ATTR_*, those that the file system tells of
}

func (m meta) kind() uint32 { return m.mode & unix.S_IFMT }

const statxMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID

// metaOf asks a handle, of whatever kind. It is content with what the kernel knows:
// a file system's server is not asked, since it may never answer.
func metaOf(fd int) (meta, error) {
	var s unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, statxMask, &s)
	if err != nil {
		return meta{}, fmt.Errorf("statx: %w", err)
	}
	return metaFrom(s), nil
}

// metaPath asks what a link of /proc leads to.
func metaPath(p string) (meta, error) {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, p, unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, statxMask, &s); err != nil {
		return meta{}, fmt.Errorf("statx %s: %w", p, err)
	}
	return metaFrom(s), nil
}

func metaFrom(s unix.Statx_t) meta {
	at := func(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }
	m := meta{
		identity: identity{unix.Mkdev(s.Dev_major, s.Dev_minor), s.Ino}, mode: uint32(s.Mode),
		uid: s.Uid, gid: s.Gid, nlink: s.Nlink, size: int64(s.Size), blocks: int64(s.Blocks),
		rdev: unix.Mkdev(s.Rdev_major, s.Rdev_minor), atime: at(s.Atime), mtime: at(s.Mtime), ctime: at(s.Ctime),
		mount: s.Mnt_id, hasMount: s.Mask&unix.STATX_MNT_ID != 0,
		attributes: s.Attributes & s.Attributes_mask,
	}
	if s.Mask&unix.STATX_BTIME != 0 {
		m.btime = at(s.Btime)
	}
	return m
}

// xattrs are the extended attributes behind a handle, bounded in number and size.
func xattrs(handle int) (map[string][]byte, error) {
	p := fmt.Sprintf("/proc/self/fd/%d", handle)
	list := make([]byte, 64<<10)
	n, err := unix.Listxattr(p, list)
	if err != nil || n == 0 {
		if err == unix.ENOTSUP || err == unix.EPERM || err == unix.EACCES {
			err = nil
		}
		return nil, err
	}
	all := map[string][]byte{}
	value, total := make([]byte, 64<<10), 0
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		k, e := unix.Getxattr(p, name, value)
		if e != nil {
			err = e
			continue
		}
		all[name] = append([]byte{}, value[:k]...)
		if total += k; len(all) == 256 || total > 1<<20 {
			return all, unix.E2BIG
		}
	}
	return all, err
}

// list is the first names of a directory of the tree.
func (t *tree) list(p string, most int) []string {
	handle, _, err := t.resolve(p, true)
	if err != nil {
		return nil
	}
	defer unix.Close(handle)
	fd, err := unix.Openat(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	d := os.NewFile(uintptr(fd), "directory")
	defer d.Close()
	names, err := d.Readdirnames(most)
	if err != nil {
		return nil
	}
	return names
}
