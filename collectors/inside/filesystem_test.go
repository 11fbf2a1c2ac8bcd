//go:build linux

package inside

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// entry is one entry of a tar.
type entry struct {
	*tar.Header
	content []byte
}

func untar(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("tar: %v", err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("tar: %s: %v", h.Name, err)
		}
		all["/"+strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")] = entry{h, content}
	}
}

func index(t *testing.T, b []byte) map[string]Name {
	t.Helper()
	all := map[string]Name{}
	for line := range bytes.Lines(b) {
		var n Name
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatalf("index line %q: %v", line, err)
		}
		p := n.Path
		if n.PathB64 != "" {
			raw, err := base64.StdEncoding.DecodeString(n.PathB64)
			if err != nil {
				t.Fatal(err)
			}
			p = string(raw)
		}
		all[p] = n
	}
	return all
}

// agree checks that a tar gives back the very bytes whose digests the index has.
func agree(t *testing.T, names map[string]Name, files map[string]entry) {
	t.Helper()
	for p, n := range names {
		if n.SHA256 == nil {
			continue
		}
		e, ok := files[p]
		if !ok {
			t.Errorf("%q: in the index as %s, not in the tar", p, n.Content)
			continue
		}
		if sum := evidence.Digest(sha256.Sum256(e.content)); sum != *n.SHA256 {
			t.Errorf("%q: tar holds %s, index says %s", p, sum, n.SHA256)
		}
	}
}

func write(t *testing.T, p, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFilesystem reads a hostile tree: T05, T07, T15, T16 and hard links.
func TestFilesystem(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "OUTSIDE-must-not-appear")
	write(t, root+"/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	write(t, root+"/hard/one", "twice")
	must(t, os.Link(root+"/hard/one", root+"/hard/two"))
	must(t, os.Symlink(outside, root+"/abs"))
	must(t, os.Symlink("../../../../../.."+outside, root+"/climb"))
	must(t, unix.Mkfifo(root+"/fifo", 0o600))
	must(t, unix.Mknod(root+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	must(t, unix.Mknod(root+"/sock", unix.S_IFSOCK|0o600, 0))
	write(t, root+"/bad\xff\xfename", "latin")
	write(t, root+"/esc\x1b[31m\nline", "escape")
	write(t, root+"/"+strings.Repeat("n", 255), "long")
	write(t, root+"/setuid", "#!")
	must(t, os.Chmod(root+"/setuid", 0o755|os.ModeSetuid))
	must(t, os.WriteFile(root+"/secretless", nil, 0o000))
	must(t, unix.Lsetxattr(root+"/etc/passwd", "trusted.note", []byte("a\x00b"), 0))
	pid := inRoot(t, root)

	all := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "filesystem"})
	if len(all) != 2 {
		t.Fatalf("%d artifacts, want tar and index", len(all))
	}
	archive := one(t, all, "filesystem")
	files, names := untar(t, archive.bytes), index(t, one(t, all, "filesystem-index").bytes)
	agree(t, names, files)
	if bytes.Contains(archive.bytes, []byte("OUTSIDE-must-not-appear")) {
		t.Error("a link led out of the root")
	}
	if string(files["/hard/one"].content)+string(files["/hard/two"].content) != "twice" {
		t.Error("a hard link's content is not there exactly once")
	}
	for p, kind := range map[string]string{"/fifo": "fifo", "/zero": "char", "/sock": "socket", "/abs": "symlink", "/etc": "dir", "/etc/passwd": "file"} {
		if names[p].Type != kind {
			t.Errorf("%s: type %q, want %s", p, names[p].Type, kind)
		}
	}
	if *names["/abs"].Link != outside || files["/abs"].Linkname != outside {
		t.Errorf("link text: index %q, tar %q", *names["/abs"].Link, files["/abs"].Linkname)
	}
	if string(files["/bad\xff\xfename"].content) != "latin" || string(files["/esc\x1b[31m\nline"].content) != "escape" {
		t.Error("names that are no plain text are not as they were")
	}
	if names["/setuid"].Mode != "04755" || files["/setuid"].Mode != 0o4755 {
		t.Errorf("setuid: index %s, tar %o", names["/setuid"].Mode, files["/setuid"].Mode)
	}
	if names["/etc/passwd"].Xattrs["trusted.note"] != base64.StdEncoding.EncodeToString([]byte("a\x00b")) {
		t.Errorf("xattrs: %v", names["/etc/passwd"].Xattrs)
	}
	if files["/etc/passwd"].ModTime.Nanosecond() == 0 && names["/etc/passwd"].MTime.Nanosecond() != 0 {
		t.Error("tar lost the nanoseconds")
	}
	gnuTar(t, archive.bytes, len(files))
}

// gnuTar lets another implementation read the archive.
func gnuTar(t *testing.T, b []byte, want int) {
	t.Helper()
	if _, err := exec.LookPath("tar"); err != nil {
		t.Log("no tar here: not compared with it")
		return
	}
	cmd := exec.Command("tar", "-t", "--null", "-f", "-")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("tar -t: %v: %s", err, out)
	}
	if n := strings.Count(string(out), "\n"); n < want {
		t.Errorf("tar -t lists %d names, want %d", n, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSparse: T09. A sparse file of 1 PiB or as much as the file system takes.
func TestSparse(t *testing.T) {
	root := t.TempDir()
	f, err := os.Create(root + "/holes")
	must(t, err)
	size := int64(1 << 40)
	for size > 1<<20 && f.Truncate(size) != nil {
		size >>= 1
	}
	for _, at := range []int64{0, 1 << 30, size / 2} {
		if _, err := f.WriteAt([]byte(fmt.Sprintf("data at %d", at)), at); err != nil {
			t.Skipf("no sparse files here: %v", err)
		}
	}
	must(t, f.Close())
	small, err := os.Create(root + "/small")
	must(t, err)
	must(t, small.Truncate(3<<20))
	_, err = small.WriteAt([]byte("middle"), 1<<20+7)
	must(t, err)
	must(t, small.Close())
	write(t, root+"/z-after", "after")
	pid := inRoot(t, root)

	all := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "filesystem"})
	archive, names := one(t, all, "filesystem").bytes, index(t, one(t, all, "filesystem-index").bytes)
	if len(archive) > 64<<20 {
		t.Fatalf("tar of %d bytes: holes were stored", len(archive))
	}
	r, seen := tar.NewReader(bytes.NewReader(archive)), 0
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		switch h.Name {
		case "holes":
			seen++
			if h.Size != size {
				t.Errorf("holes: size %d, want %d", h.Size, size)
			}
			b := make([]byte, 9)
			_, err := io.ReadFull(r, b)
			must(t, err)
			if string(b) != "data at 0" {
				t.Errorf("holes begins with %q", b)
			}
		case "small":
			seen++
			b, err := io.ReadAll(r)
			must(t, err)
			want := make([]byte, 3<<20)
			copy(want[1<<20+7:], "middle")
			if !bytes.Equal(b, want) {
				t.Error("small does not come back as it was")
			}
			if d := evidence.Digest(sha256.Sum256(want)); *names["/small"].SHA256 != d {
				t.Error("small: digest in the index is not the file's")
			}
		case "z-after":
			seen++
		}
	}
	if seen != 3 || !names["/holes"].Sparse {
		t.Errorf("%d of 3 files came back; index: %+v", seen, names["/holes"])
	}
	gnuTar(t, archive, 3)
	if _, err := exec.LookPath("tar"); err == nil {
		cmd := exec.Command("tar", "-xO", "-f", "-", "small")
		cmd.Stdin = bytes.NewReader(archive)
		out, err := cmd.Output()
		if err != nil || evidence.Digest(sha256.Sum256(out)) != *names["/small"].SHA256 {
			t.Errorf("GNU tar gives other bytes of the sparse file: %v", err)
		}
	}
}

// TestBudgets: T11. Depth, number and size end the walk, and the tar stays valid.
func TestBudgets(t *testing.T) {
	root := t.TempDir()
	deep := root
	for range 40 {
		deep += "/d"
	}
	write(t, deep+"/bottom", "deep")
	for i := range 300 {
		write(t, fmt.Sprintf("%s/many/%03d", root, i), strings.Repeat("x", 4<<10))
	}
	pid := inRoot(t, root)
	for name, c := range map[string]struct {
		b   Budgets
		max int64
		cut bool
	}{
		"depth": {b: Budgets{Depth: 10}}, "names": {b: Budgets{Entries: 50}}, "bytes": {max: 600 << 10, cut: true},
		"index": {b: Budgets{Index: 512}},
	} {
		t.Run(name, func(t *testing.T) {
			all := collect(t, New(Options{TargetPID: pid, Budgets: c.b}), agent.Request{Kind: "filesystem", MaxBytes: c.max})
			files, names := map[string]entry{}, map[string]Name{}
			var notes []string
			for _, g := range all {
				if g.Kind == "filesystem" {
					for p, e := range untar(t, g.bytes) {
						files[p] = e
					}
					notes = append(notes, g.trailer.Notes...)
					if c.cut != errors.Is(g.err, ErrLimit) {
						t.Errorf("%s: %v", g.Detail, g.err)
					}
					if c.max > 0 && int64(len(g.bytes)) > c.max {
						t.Errorf("%d bytes over the limit", int64(len(g.bytes))-c.max)
					}
				} else {
					for p, n := range index(t, g.bytes) {
						names[p] = n
					}
				}
			}
			agree(t, names, files)
			switch name {
			case "index":
				if len(all) < 4 || len(names) != 300+40+3 {
					t.Errorf("%d artifacts with %d names", len(all), len(names))
				}
			case "bytes":
				if len(names) != 300+40+3 {
					t.Errorf("%d names in the index, want all", len(names))
				}
			default:
				if len(notes) == 0 {
					t.Error("cut short without a word")
				}
			}
		})
	}
}

// TestChanging: T06 and T08. While a tree is read, files grow, shrink and turn into
// FIFOs and devices under the same name.
func TestChanging(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	for i := range 200 {
		write(t, fmt.Sprintf("%s/f%03d", root, i), strings.Repeat("content\n", 4<<10))
	}
	pid := inRoot(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			p := fmt.Sprintf("%s/f%03d", root, i%200)
			switch i % 4 {
			case 0:
				_ = os.Truncate(p, 3)
			case 1:
				f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
				if err == nil {
					_, _ = f.Write(make([]byte, 64<<10))
					f.Close()
				}
			case 2:
				_ = os.Remove(p)
				_ = unix.Mkfifo(p, 0o600)
			case 3:
				_ = os.Remove(p)
				_ = unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))
			}
			if i%200 == 199 {
				for j := range 200 {
					q := fmt.Sprintf("%s/f%03d", root, j)
					_ = os.Remove(q)
					_ = os.WriteFile(q, make([]byte, 100<<10), 0o644)
				}
			}
		}
	}()
	for range 5 {
		all := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "filesystem"})
		agree(t, index(t, one(t, all, "filesystem-index").bytes), untar(t, one(t, all, "filesystem").bytes))
	}
	cancel()
	<-done
}
