package known_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/agent/known"
)

func set(t *testing.T, key []byte, files ...known.File) *known.Set {
	t.Helper()
	m, err := known.NewMarker(key)
	if err != nil {
		t.Fatal(err)
	}
	var marks []uint64
	for _, f := range files {
		marks = append(marks, m.Mark(f))
	}
	slices.Sort(marks)
	var b []byte
	for _, v := range marks {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	s, err := known.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	half := len(b) / 16 * 8
	if err := s.Add(b[:half], false); err != nil || s.Whole() {
		t.Fatalf("first half: %v, whole %v", err, s.Whole())
	}
	if err := s.Add(b[half:], true); err != nil || !s.Whole() {
		t.Fatalf("second half: %v, whole %v", err, s.Whole())
	}
	return s
}

var key = []byte(strings.Repeat("k", 32))

func TestEveryDifferenceCounts(t *testing.T) {
	file := known.File{Path: "/bin/sh", Type: known.Regular, Mode: 0o755, UID: 1, GID: 2, Size: 3, MTime: 4, SHA256: sha256.Sum256([]byte("abc")), Caps: []byte("c")}
	link := known.File{Path: "/bin/ls", Type: known.Symlink, Link: "busybox", Mode: 0o777, MTime: 9}
	dir := known.File{Path: "/etc", Type: known.Directory, Mode: 0o755, Size: 4096, MTime: 5}
	dev := known.File{Path: "/dev/null", Type: known.Char, RDev: 259, Mode: 0o666}
	s := set(t, key, file, link, dir, dev)
	for _, f := range []known.File{file, link, dir, dev} {
		if !s.Place(f.Path, f.Type, f.Size) || !s.Knows(f) {
			t.Errorf("%s is not known", f.Path)
		}
	}
	for what, change := range map[string]func(*known.File){
		"path": func(f *known.File) { f.Path += "x" }, "type": func(f *known.File) { f.Type = known.FIFO }, "mode": func(f *known.File) { f.Mode |= 0o4000 },
		"uid": func(f *known.File) { f.UID++ }, "gid": func(f *known.File) { f.GID++ }, "size": func(f *known.File) { f.Size++ }, "mtime": func(f *known.File) { f.MTime++ },
		"content": func(f *known.File) { f.SHA256[31] ^= 1 }, "capabilities": func(f *known.File) { f.Caps = nil },
	} {
		f := file
		if change(&f); s.Knows(f) {
			t.Errorf("another %s goes for the image's", what)
		}
	}
	// What unpacking an image leaves open does not count.
	link.Mode, link.MTime, dir.Size, dir.MTime = 0, 1, 1, 1
	if !s.Knows(link) || !s.Knows(dir) {
		t.Error("mode and time of a link, size and time of a folder count")
	}
	link.Link = "/tmp/evil"
	dev.RDev++
	if s.Knows(link) || s.Knows(dev) {
		t.Error("a link or a device that leads elsewhere goes for the image's")
	}
	if s.Place("/bin/sh", known.Regular, 4) || s.Place("/etc/x", known.Regular, 0) {
		t.Error("a place that the image has not")
	}
}

// A file that is neither in the set nor near it is never taken for one of it, under any key.
func TestNothingElseIsKnown(t *testing.T) {
	var files []known.File
	for i := range 20_000 {
		files = append(files, known.File{Path: fmt.Sprintf("/f%d", i), Type: known.Regular, Size: int64(i % 7)})
	}
	s := set(t, key, files...)
	for i, f := range files {
		f.SHA256[0] = byte(i) | 1
		if s.Knows(f) {
			t.Fatalf("%s: changed, and known", f.Path)
		}
	}
	other := set(t, []byte(strings.Repeat("o", 32)), files...)
	if m, _ := known.NewMarker(key); other.Knows(files[1]) != true || m.Mark(files[1]) == 0 {
		t.Error("the same files under another key are not known")
	}
}

func TestMarksThatNobodySends(t *testing.T) {
	one := binary.BigEndian.AppendUint64(nil, 1)
	two := binary.BigEndian.AppendUint64(nil, 2)
	for what, give := range map[string]func(*known.Set) error{
		"half a mark":     func(s *known.Set) error { return s.Add(one[:7], false) },
		"falling":         func(s *known.Set) error { return s.Add(append(slices.Clone(two), one...), true) },
		"falling, later":  func(s *known.Set) error { _ = s.Add(two, false); return s.Add(one, true) },
		"after the last":  func(s *known.Set) error { _ = s.Add(one, true); return s.Add(two, true) },
		"more than fit":   func(s *known.Set) error { return s.Add(make([]byte, 8*(known.Most+1)), true) },
		"more, in pieces": func(s *known.Set) error { _ = s.Add(make([]byte, 8*known.Most), false); return s.Add(one, true) },
	} {
		s, err := known.NewSet(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := give(s); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if _, err := known.NewSet([]byte("short")); err == nil {
		t.Error("a key that can be guessed was taken")
	}
	if (*known.Set)(nil).Whole() {
		t.Error("no set is whole")
	}
}
