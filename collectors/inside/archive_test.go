//go:build linux

package inside

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

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
