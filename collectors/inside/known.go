//go:build linux

package inside

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/known"
	"irkit.dev/irkit/evidence"
)

// ErrKnown refuses a request that leaves out what is known where no whole list of that is
// here.
var ErrKnown = errors.New("no whole list of what is known")

// Know takes a piece of the list of files whose bytes need not be sent. The list serves one
// request: whoever asks again sends it again.
func (r *Reader) Know(k agent.Known) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k.Begin {
		s, err := known.NewSet(k.Key)
		if err != nil {
			return err
		}
		r.known = s
	}
	if r.known == nil {
		return fmt.Errorf("%w: it has no beginning", ErrKnown)
	}
	if err := r.known.Add(k.Marks, k.Last); err != nil {
		r.known = nil
		return err
	}
	return nil
}

// takeKnown gives the list to the one request that uses it.
func (r *Reader) takeKnown(q agent.Request) (*known.Set, error) {
	if !q.Known {
		return nil, nil //nolint:nilnil // nothing is known
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.known
	r.known = nil
	if !s.Whole() {
		return nil, ErrKnown
	}
	return s, nil
}

var knownTypes = map[uint32]byte{
	unix.S_IFREG: known.Regular, unix.S_IFDIR: known.Directory, unix.S_IFLNK: known.Symlink,
	unix.S_IFCHR: known.Char, unix.S_IFBLK: known.Block, unix.S_IFIFO: known.FIFO,
}

// knownFile is a file as its mark is made.
func knownFile(p string, m meta, attrs map[string][]byte) known.File {
	return known.File{
		Path: p, Type: knownTypes[m.kind()], Mode: m.mode & 0o7777, UID: m.uid, GID: m.gid, Size: m.size, MTime: m.mtime.Unix(),
		RDev: m.rdev, Caps: attrs["security.capability"],
	}
}

// knows tells a name without content that is as the image has it.
func (a *archive) knows(n *Name, f known.File) bool {
	if a.known == nil || f.Type == 0 || !a.known.Knows(f) {
		return false
	}
	n.InImage = true
	return true
}

// same tells a regular file that is as the image has it: its bytes, digested here, need not
// come. Only a file that could be is read for that.
func (a *archive) same(n *Name, p string, f *os.File, m meta, attrs map[string][]byte) bool {
	if a.known == nil || !a.known.Place(p, known.Regular, m.size) {
		return false
	}
	sum := sha256.New()
	got, err := a.copy(sum, f, extent{0, m.size})
	after, statErr := metaOf(int(f.Fd()))
	if err != nil || statErr != nil || got != m.size || after.size != m.size || !after.mtime.Equal(m.mtime) {
		return false // it is sent, and what went wrong is told there
	}
	one := knownFile(p, m, attrs)
	sum.Sum(one.SHA256[:0])
	if !a.known.Knows(one) {
		return false
	}
	d := evidence.Digest(one.SHA256)
	n.Content, n.InImage, n.SHA256, n.Read = inImage, true, &d, &got
	return true
}
