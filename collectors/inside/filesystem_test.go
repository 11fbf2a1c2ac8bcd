//go:build linux

package inside

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func TestFlagsOfAnInode(t *testing.T) {
	if got := flags(unix.STATX_ATTR_APPEND | unix.STATX_ATTR_IMMUTABLE | 1<<40); !slices.Equal(got, []string{"immutable", "append"}) {
		t.Errorf("flags %q", got)
	}
	if got := flags(0); got != nil {
		t.Errorf("flags of nothing: %q", got)
	}
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

// TestBudgets: T11. Depth, number and size end the walk, and the tar stays valid.

// TestChanging: T06 and T08. While a tree is read, files grow, shrink and turn into

// FIFOs and devices under the same name.
