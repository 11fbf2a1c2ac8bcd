//go:build linux

package inside

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent/known"
	"irkit.dev/irkit/evidence"
)

// archive writes a tar (PAX, IEEE Std 1003.1) that stays valid whatever happens to
// its sources: a file is stored with the size that it had when it was opened, cut when it
// grew, filled with zeros when it shrank, and its line in the index says so.
type archive struct {
	ctx         context.Context
	o           *out
	tw          *tar.Writer
	links       map[identity]string // first name of a file with several; bounded
	holes       int64               // bytes of holes that may still be digested
	buf, nought []byte
	bytes       int // of the names in links
	spool       *spool
	limit       bool       // something was left out for want of room
	known       *known.Set // whose bytes need not come; nil: none
}

const (
	reserve   = 64 << 10 // kept free for trailers under a limit
	linkBytes = 8 << 20
)

func newArchive(ctx context.Context, o *out) (*archive, error) {
	s, err := newSpool()
	if err != nil {
		return nil, err
	}
	return &archive{
		ctx: ctx, o: o, tw: tar.NewWriter(o), links: map[identity]string{}, spool: s,
		holes: 8 << 30, buf: make([]byte, 256<<10), nought: make([]byte, 64<<10),
	}, nil
}

// room tells whether so many bytes more may come.
func (a *archive) room(n int64) bool {
	return a.o.max <= 0 || (n <= a.o.max && a.o.n+n+reserve <= a.o.max)
}

func (a *archive) close() error {
	if err := a.tw.Close(); err != nil {
		return fmt.Errorf("end tar: %w", err)
	}
	if a.limit {
		return fmt.Errorf("%d bytes of tar: %w", a.o.max, ErrLimit)
	}
	return nil
}

// head makes a tar header without content.
func head(p string, m meta, attrs map[string][]byte) *tar.Header {
	h := &tar.Header{
		Name: strings.TrimPrefix(p, "/"), Mode: int64(m.mode & 0o7777), Uid: int(m.uid), Gid: int(m.gid),
		ModTime: m.mtime, AccessTime: m.atime, ChangeTime: m.ctime, Format: tar.FormatPAX, PAXRecords: map[string]string{},
	}
	if h.Name == "" {
		h.Name = "./"
	}
	total := 0
	for k, v := range attrs {
		if total += len(k) + len(v); total > 256<<10 {
			break // the index has them all; readers refuse a longer header
		}
		if !strings.ContainsAny(k, "=\x00") {
			h.PAXRecords["SCHILY.xattr."+k] = string(v)
		}
	}
	switch m.kind() {
	case unix.S_IFREG:
		h.Typeflag = tar.TypeReg
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name = strings.TrimSuffix(h.Name, "/") + "/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if m.kind() == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(m.rdev)), int64(unix.Minor(m.rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	}
	return h
}

// put writes what has no content: the header is all. A header that tar cannot carry is
// told of in the index alone.
func (a *archive) put(n *Name, h *tar.Header) error {
	if !a.room(8 << 10) {
		a.limit = true
		n.Content, n.Reason = leftOut, "no room under the size limit"
		return nil
	}
	err := a.tw.WriteHeader(h)
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		n.Reason = "tar cannot carry it: " + err.Error()
		return nil
	}
	return wrap(err, "write tar header")
}

// file stores a regular file from its handle.
func (a *archive) file(n *Name, p string, handle int, attrs map[string][]byte) error {
	f, err := open(handle)
	if err != nil {
		n.Content, n.Reason = unread, "open: "+cause(err)
		return nil
	}
	defer f.Close()
	before, err := metaOf(int(f.Fd())) // opened: what the kernel knows is fresh
	if err != nil || before.kind() != unix.S_IFREG {
		n.Content, n.Reason = unread, "no longer a regular file"
		return nil
	}
	n.Size = before.size
	warm := cached(int(f.Fd()))
	key := before.identity
	if first, ok := a.links[key]; ok && before.nlink > 1 {
		h := head(p, before, nil)
		h.Typeflag, h.Linkname = tar.TypeLink, strings.TrimPrefix(first, "/")
		n.Content = hardLink
		n.HardLink, n.HardB64 = text(first)
		return a.put(n, h)
	}
	if a.same(n, p, f, before, attrs) {
		release(int(f.Fd()), warm)
		return nil
	}
	parts := extents(f, before)
	var size int64
	for _, e := range parts {
		size += e.length
	}
	if !a.room(size + 16<<10) {
		a.limit = true
		n.Content, n.Reason = leftOut, "no room under the size limit"
		return nil
	}
	if before.nlink > 1 && a.bytes < linkBytes {
		a.links[key] = p
		a.bytes += len(p) + 64
	}
	h := head(p, before, attrs)
	if err := a.content(n, h, f, before, parts); err != nil {
		return err
	}
	release(int(f.Fd()), warm)
	after, err := metaOf(int(f.Fd()))
	if err != nil || after.size != before.size || !after.mtime.Equal(before.mtime) {
		n.Changed = true
	}
	if err == nil && !after.atime.Equal(before.atime) {
		// O_NOATIME is for owners and CAP_FOWNER.
		a.o.note("access times moved while files were read; the index has those of before")
	}
	if n.Changed {
		a.o.changed("files changed while they were read: the index marks them")
	}
	return nil
}

// content writes header and bytes. The digest is that of the bytes as the tar gives
// them back: with the zeros that fill what was lost, and those of the holes where that
// is not too much.
func (a *archive) content(n *Name, h *tar.Header, f *os.File, m meta, parts []extent) error {
	var w io.Writer = a.tw
	if whole(parts, m.size) {
		h.Size = m.size
		err := a.tw.WriteHeader(h)
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
			n.Content, n.Reason = unread, "tar cannot carry it: "+err.Error()
			return nil
		}
		if err != nil {
			return fmt.Errorf("write tar header: %w", err)
		}
	} else {
		n.Sparse = true
		if err := a.tw.Flush(); err != nil {
			return fmt.Errorf("write tar: %w", err)
		}
		if err := sparseHeader(a.o, h, m.size, parts); err != nil {
			return fmt.Errorf("write tar header: %w", err)
		}
		w = a.o
	}
	holes := m.size
	for _, e := range parts {
		holes -= e.length
	}
	sum := sha256.New()
	digest := holes <= a.holes
	if digest {
		a.holes -= holes
	}
	n.Content = stored
	var read, size, at int64
	for _, e := range parts {
		if digest {
			_ = a.zeros(sum, e.start-at)
		}
		got, err := a.copy(io.MultiWriter(w, sum), f, e)
		read, size, at = read+got, size+e.length, e.start+e.length
		var failed readError
		switch {
		case errors.As(err, &failed):
			n.Content, n.Reason = unread, "read stopped: "+cause(failed.error)
		case err != nil:
			return fmt.Errorf("write tar: %w", err)
		case got < e.length:
			n.Changed = true
		}
		if err := a.zeros(io.MultiWriter(w, sum), e.length-got); err != nil {
			return fmt.Errorf("write tar: %w", err)
		}
	}
	if n.Sparse {
		if digest {
			_ = a.zeros(sum, m.size-at)
		}
		if err := a.zeros(a.o, padding(size)); err != nil {
			return fmt.Errorf("write tar: %w", err)
		}
	}
	n.Read = &read
	if digest {
		var d evidence.Digest
		sum.Sum(d[:0])
		n.SHA256 = &d
	} else if n.Reason == "" {
		n.Reason = "its holes are too many to digest"
	}
	return nil
}

// copy gives the bytes of one extent; short without an error when the file ended
// early, with a readError when it could not be read on.
func (a *archive) copy(w io.Writer, f *os.File, e extent) (int64, error) {
	var n int64
	for n < e.length {
		if err := a.ctx.Err(); err != nil {
			return n, err
		}
		b := a.buf[:min(int64(len(a.buf)), e.length-n)]
		k, err := unix.Pread(int(f.Fd()), b, e.start+n)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, readError{err}
		}
		if k == 0 {
			return n, nil
		}
		if _, err := w.Write(b[:k]); err != nil {
			return n, err
		}
		n += int64(k)
	}
	return n, nil
}

func (a *archive) zeros(w io.Writer, n int64) error {
	for n > 0 {
		k := min(n, int64(len(a.nought)))
		if _, err := w.Write(a.nought[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
