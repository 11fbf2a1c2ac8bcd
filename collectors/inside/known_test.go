//go:build linux

package inside

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/known"
)

// knowing tells a reader that these files are the image's, in two pieces.
func knowing(t *testing.T, r *Reader, files ...known.File) {
	t.Helper()
	key := []byte(strings.Repeat("k", 32))
	m, err := known.NewMarker(key)
	must(t, err)
	var marks []uint64
	for _, f := range files {
		marks = append(marks, m.Mark(f))
	}
	slices.Sort(marks)
	var b []byte
	for _, v := range marks {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	must(t, r.Know(agent.Known{Begin: true, Key: key, Marks: b[:8]}))
	must(t, r.Know(agent.Known{Marks: b[8:], Last: true}))
}

// TestKnownFilesStayOut: what is the image's is in the index with its digest, and not in
// the tar; what differs in anything is in both.
func TestKnownFilesStayOut(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	then := time.Unix(1_700_000_000, 5e8)
	var image []known.File
	file := func(name, content string) {
		write(t, root+name, content)
		must(t, os.Chtimes(root+name, then, then))
		image = append(image, known.File{Path: name, Type: known.Regular, Mode: 0o644, Size: int64(len(content)), MTime: then.Unix(), SHA256: sha256.Sum256([]byte(content))})
	}
	for _, name := range []string{"/etc/same", "/etc/content", "/etc/size", "/etc/mode", "/etc/owner", "/etc/time", "/etc/caps", "/etc/twin"} {
		file(name, "what the image has in "+name)
	}
	must(t, os.Link(root+"/etc/twin", root+"/etc/twin2"))
	image = append(image, image[len(image)-1])
	image[len(image)-1].Path = "/etc/twin2"
	must(t, os.Symlink("same", root+"/etc/link"))
	must(t, os.Symlink("/tmp/evil", root+"/etc/turned"))
	must(t, unix.Mkfifo(root+"/etc/fifo", 0o600))
	image = append(image, known.File{Path: "/etc/link", Type: known.Symlink, Link: "same"}, known.File{Path: "/etc/turned", Type: known.Symlink, Link: "same"},
		known.File{Path: "/etc", Type: known.Directory, Mode: 0o755}, known.File{Path: "/etc/fifo", Type: known.FIFO, Mode: 0o600})

	write(t, root+"/etc/content", "WHAT the image has in /etc/content")
	must(t, os.Chtimes(root+"/etc/content", then, then))
	write(t, root+"/etc/size", "short")
	must(t, os.Chmod(root+"/etc/mode", 0o644|os.ModeSetuid))
	must(t, os.Chown(root+"/etc/owner", 7, 0))
	must(t, os.Chtimes(root+"/etc/time", then, then.Add(time.Hour)))
	must(t, unix.Setxattr(root+"/etc/caps", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	write(t, root+"/etc/added", "new")

	r := New(Options{TargetPID: inRoot(t, root)})
	knowing(t, r, image...)
	all := collect(t, r, agent.Request{Kind: "filesystem", Known: true})
	names, files := index(t, one(t, all, "filesystem-index").bytes), untar(t, one(t, all, "filesystem").bytes)
	for _, p := range []string{"/etc/same", "/etc/twin", "/etc/twin2", "/etc/link", "/etc", "/etc/fifo"} {
		if _, sent := files[p]; sent || !names[p].InImage {
			t.Errorf("%s: sent %v, index %+v", p, sent, names[p])
		}
	}
	if n := names["/etc/same"]; n.Content != inImage || n.SHA256 == nil || *n.SHA256 != sha256.Sum256([]byte("what the image has in /etc/same")) {
		t.Errorf("index of a known file: %+v", n)
	}
	for _, p := range []string{"/etc/content", "/etc/size", "/etc/mode", "/etc/owner", "/etc/time", "/etc/caps", "/etc/added", "/etc/turned"} {
		if _, sent := files[p]; !sent || names[p].InImage {
			t.Errorf("%s: sent %v, index %+v", p, sent, names[p])
		}
	}
	if string(files["/etc/content"].content) != "WHAT the image has in /etc/content" {
		t.Errorf("content %q", files["/etc/content"].content)
	}
	// The list was for that one request.
	err := r.Collect(t.Context(), agent.Request{Kind: "filesystem", Known: true}, func(agent.Header, io.Reader) error { return nil })
	if !errors.Is(err, ErrKnown) {
		t.Errorf("asked again without a list: %v", err)
	}
	if all := collect(t, r, agent.Request{Kind: "filesystem"}); len(untar(t, one(t, all, "filesystem").bytes)) != len(names) {
		t.Error("without a list not all was sent")
	}
}

func TestHalfAListIsRefused(t *testing.T) {
	r := New(Options{TargetPID: os.Getpid()})
	if err := r.Know(agent.Known{Marks: make([]byte, 8)}); !errors.Is(err, ErrKnown) {
		t.Errorf("a piece without a beginning: %v", err)
	}
	if err := r.Know(agent.Known{Begin: true, Key: []byte("guess")}); err == nil {
		t.Error("a key of five bytes was taken")
	}
	if err := r.Know(agent.Known{Begin: true, Key: make([]byte, 32), Marks: make([]byte, 8)}); err != nil {
		t.Fatal(err)
	}
	if err := r.Collect(t.Context(), agent.Request{Kind: "filesystem", Known: true}, nil); !errors.Is(err, ErrKnown) {
		t.Errorf("half a list: %v", err)
	}
}
