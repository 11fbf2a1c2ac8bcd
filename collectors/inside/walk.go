//go:build linux

package inside

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// walk goes through a tree once and files what it finds in the archive that a is now;
// turn changes it for a new one when its index has grown enough.
type walk struct {
	ctx      context.Context
	q        agent.Request
	b        Budgets
	t        *tree
	mounts   *mountTable
	a        *archive
	turn     func() bool
	names    int
	listed   bool // only listed: content stays out, by the plan
	finished bool
}

var errStopped = errors.New("the receiver stopped")

// place is what holds for a directory and what lies below it.
type place struct {
	depth  int
	mount  uint64
	left   string // content is left out, and why; empty: stored
	secret bool   // left out as a secret: names and keyed digests come
}

// enter files the object behind a handle under its path, and what is below it. The
// handle stays the caller's. Errors are those of the way, not of the source.
func (w *walk) enter(p string, handle int, in place) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.names++; w.names > w.b.Entries {
		w.cut("more than %d names", w.b.Entries)
		return nil
	}
	if len(p) > w.b.Path {
		w.cut("a path of more than %d bytes", w.b.Path)
		return nil
	}
	m, err := metaOf(handle)
	if err != nil {
		shown, b64 := text(p)
		return w.a.spool.add(Name{Path: shown, PathB64: b64, Type: "unknown", Content: unread, Reason: cause(err)})
	}
	n := describe(p, m)
	in, descend := w.border(&n, p, m, in)
	var attrs map[string][]byte
	if in.left == "" || in.secret {
		if attrs, err = xattrs(handle); err != nil && n.Reason == "" {
			n.Reason = "extended attributes: " + cause(err)
		}
		n.attributes(attrs)
	}
	if err := w.file(&n, p, handle, m, attrs, in); err != nil {
		return err
	}
	if err := w.a.spool.add(n); err != nil {
		return err
	}
	if w.a.spool.buf.Len() >= w.b.Index && !w.turn() {
		return errStopped
	}
	if m.kind() != unix.S_IFDIR || !descend {
		return nil
	}
	if in.depth >= w.b.Depth {
		w.cut("directories deeper than %d", w.b.Depth)
		return nil
	}
	in.depth++
	return w.below(p, handle, in)
}

// cut notes, once, that the tree goes on where the walk did not.
func (w *walk) cut(format string, a ...any) {
	w.a.o.note("tree cut short: %s", fmt.Sprintf(format, a...))
}

// border says what holds where a mount begins, and whether to go on below it.
func (w *walk) border(n *Name, p string, m meta, in place) (place, bool) {
	mount := w.mounts.of(m, p, in.mount)
	if mount == in.mount {
		return in, in.left == "" || in.secret
	}
	in.mount = mount
	info, known := w.mounts.by(mount)
	n.Mount = info.FS
	switch {
	case in.left != "":
		return in, in.secret && !pseudo[info.FS]
	case !known:
		in.left = "mount that is not in the mount table"
	case pseudo[info.FS]:
		in.left = "pseudo file system " + info.FS
	case userSpace(info):
		in.left = errUserSpace.Error()
	default:
		in.left, in.secret = w.mounts.left(mount)
	}
	return in, in.left == "" || in.secret
}

// file stores one object.
func (w *walk) file(n *Name, p string, handle int, m meta, attrs map[string][]byte, in place) error {
	switch m.kind() {
	case unix.S_IFREG:
		if in.secret {
			n.HMACSHA256 = keyed(w.q.HMACKey, handle)
		}
		if in.left != "" {
			n.Content, n.Reason = leftOut, in.left
			return nil
		}
		if w.listed {
			n.Content, n.Reason = leftOut, "listed only"
			return nil
		}
		return w.a.file(n, p, handle, attrs)
	case unix.S_IFLNK:
		target, err := readlink(handle)
		if err != nil {
			n.Reason = "readlink: " + cause(err)
			return nil
		}
		link, b64 := text(target)
		n.Link, n.LinkB64 = &link, b64
		same := knownFile(p, m, attrs)
		if same.Link = target; w.a.knows(n, same) {
			return nil
		}
		h := head(p, m, attrs)
		h.Linkname = target
		return w.a.put(n, h)
	case unix.S_IFSOCK:
		return nil // tar has no such type; the index does
	}
	if in.left != "" {
		n.Reason = in.left
	}
	if w.a.knows(n, knownFile(p, m, attrs)) {
		return nil
	}
	return w.a.put(n, head(p, m, attrs))
}

// below goes through a directory. Names come in the directory's own order, a few at a
// time: a directory of a million names costs no more than one of ten.
func (w *walk) below(p string, handle int, in place) error {
	fd, err := unix.Openat(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Openat(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		w.a.o.note("directories that could not be listed: the index marks them")
		shown, b64 := text(p)
		return w.a.spool.add(Name{Path: shown, PathB64: b64, Type: "dir", Content: unread, Reason: "list: " + cause(err)})
	}
	d := os.NewFile(uintptr(fd), "directory")
	defer d.Close()
	for w.names <= w.b.Entries {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			child, e := below(int(d.Fd()), name)
			if e != nil {
				if gone(e) {
					w.a.o.changed("names vanished while the tree was read")
				}
				shown, b64 := text(path.Join(p, name))
				if e := w.a.spool.add(Name{Path: shown, PathB64: b64, Type: "unknown", Content: unread, Reason: cause(e)}); e != nil {
					return e
				}
				continue
			}
			e = w.enter(strings.TrimSuffix(p, "/")+"/"+name, child, in)
			unix.Close(child)
			if e != nil {
				return e
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			w.a.o.note("directory listing stopped: %s", cause(err))
			return nil
		}
	}
	return nil
}

// keyed is the HMAC-SHA256 of a small file's content; empty without a key.
func keyed(key []byte, handle int) string {
	if len(key) == 0 {
		return ""
	}
	f, err := open(handle)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := hmac.New(sha256.New, key)
	if n, err := io.Copy(h, io.LimitReader(f, 4<<20)); err != nil || n == 4<<20 {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
