// Package known is how irkit tells the worker what of a file system it has already: the files
// of the target's image, whose bytes need not come. Both sides link it.
//
// A list of a million paths with their digests would be a hundred megabytes; here each file
// is a mark of eight bytes. Its upper half stands for path and size, so that the worker sees
// at a glance which files are worth digesting before they are sent; the lower half for all
// that makes a file the image's. Both are cut from HMAC-SHA256 under a key that is made anew
// for each use, so that nobody can make a file that is taken for another; by chance one in
// four thousand million changed files is, and then the receiver, which compares whole digests,
// still tells that it changed.
package known

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
)

// Most is how many marks a worker keeps: 8 MiB.
const Most = 1 << 20

// Types of files, as the letters of find(1).
const (
	Regular   = 'f'
	Directory = 'd'
	Symlink   = 'l'
	Char      = 'c'
	Block     = 'b'
	FIFO      = 'p'
)

// File is what makes a file the image's. Size and MTime count for regular files alone, Mode
// for all but symbolic links: what unpacks an image sets the others as it likes.
type File struct {
	Path     string // absolute
	Type     byte
	Mode     uint32 // permissions, setuid, setgid, sticky
	UID, GID uint32
	Size     int64
	MTime    int64 // whole seconds since 1970; archives often have no more
	Link     string
	RDev     uint64 // of a device, as mkdev makes it
	Caps     []byte // security.capability
	SHA256   [sha256.Size]byte
}

// Marker makes marks under one key. It is not safe for concurrent use.
type Marker struct{ h hash.Hash }

// NewMarker takes a key of at least 16 bytes.
func NewMarker(key []byte) (*Marker, error) {
	if len(key) < 16 {
		return nil, fmt.Errorf("mark what is known: a key of %d bytes", len(key))
	}
	return &Marker{hmac.New(sha256.New, key)}, nil
}

// place is the upper half.
func (m *Marker) place(p string, kind byte, size int64) uint64 {
	if kind != Regular {
		size = 0
	}
	m.h.Reset()
	m.h.Write(binary.BigEndian.AppendUint64([]byte{'p', kind}, uint64(size)))
	m.h.Write([]byte(p))
	return uint64(binary.BigEndian.Uint32(m.h.Sum(nil))) << 32
}

// Mark is the whole.
func (m *Marker) Mark(f File) uint64 {
	upper := m.place(f.Path, f.Type, f.Size)
	b := []byte{'f', f.Type}
	number := func(v uint64) { b = binary.BigEndian.AppendUint64(b, v) }
	text := func(s string) { number(uint64(len(s))); b = append(b, s...) }
	number(uint64(f.UID))
	number(uint64(f.GID))
	if f.Type != Symlink {
		number(uint64(f.Mode & 0o7777))
	}
	switch f.Type {
	case Regular:
		number(uint64(f.Size))
		number(uint64(f.MTime))
		b = append(b, f.SHA256[:]...)
	case Symlink:
		text(f.Link)
	case Char, Block:
		number(f.RDev)
	}
	text(string(f.Caps))
	text(f.Path)
	m.h.Reset()
	m.h.Write(b)
	return upper | uint64(binary.BigEndian.Uint32(m.h.Sum(nil)))
}

// Set is the marks of one image, as the worker keeps them. The zero Set knows nothing.
// Reading it is not safe for concurrent use.
type Set struct {
	m     *Marker
	marks []uint64
	whole bool
}

// errOrder says that marks came as nobody sends them.
var errOrder = errors.New("not in rising order")

// NewSet begins a set under a key.
func NewSet(key []byte) (*Set, error) {
	m, err := NewMarker(key)
	return &Set{m: m}, err
}

// Add takes marks in rising order, eight bytes each, big-endian; last says that no more come.
// Before that the set cannot be used.
func (s *Set) Add(marks []byte, last bool) error {
	if len(marks)%8 != 0 || s.whole {
		return fmt.Errorf("take %d bytes of marks: %w", len(marks), errOrder)
	}
	if len(s.marks)+len(marks)/8 > Most {
		return fmt.Errorf("take marks: more than %d", Most)
	}
	s.marks = slices.Grow(s.marks, len(marks)/8)
	for ; len(marks) > 0; marks = marks[8:] {
		v := binary.BigEndian.Uint64(marks)
		if n := len(s.marks); n > 0 && s.marks[n-1] > v {
			return fmt.Errorf("take marks: %w", errOrder)
		}
		s.marks = append(s.marks, v)
	}
	s.whole = last
	return nil
}

// Whole tells whether the last mark has come.
func (s *Set) Whole() bool { return s != nil && s.whole }

// Place tells whether the image has a file of that type and size there: only then
// Knows can hold.
func (s *Set) Place(p string, kind byte, size int64) bool {
	upper := s.m.place(p, kind, size)
	i, _ := slices.BinarySearch(s.marks, upper)
	return i < len(s.marks) && s.marks[i]>>32 == upper>>32
}

// Knows tells whether the image has this very file.
func (s *Set) Knows(f File) bool {
	_, there := slices.BinarySearch(s.marks, s.m.Mark(f))
	return there
}
