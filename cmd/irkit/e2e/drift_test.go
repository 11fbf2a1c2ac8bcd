//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"

	ociimage "irkit.dev/irkit/agent/image"
	"irkit.dev/irkit/collectors/drift"
	"irkit.dev/irkit/evidence"
)

const driftImage = "lab.local/e2e-drift:1"

// driftArchive is an image of a shell and a few files in two layers, as an OCI archive that
// the node has too.
func driftArchive(t *testing.T) string {
	t.Helper()
	shell, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("no busybox on this machine: %v", err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range [][]tar.Header{
		{{Name: "bin/"}, {Name: "bin/busybox", Mode: 0o755, Uname: string(shell)}, {Name: "bin/sh", Linkname: "busybox"}, {Name: "bin/rm", Linkname: "busybox"},
			{Name: "bin/chmod", Linkname: "busybox"}, {Name: "bin/sleep", Linkname: "busybox"}, {Name: "bin/test", Linkname: "busybox"},
			{Name: "etc/"}, {Name: "etc/same", Mode: 0o644, Uname: "same"}, {Name: "etc/gone", Mode: 0o644, Uname: "gone"}, {Name: "etc/below", Mode: 0o644, Uname: "of the lower layer"}},
		{{Name: "etc/.wh.below", Mode: 0o644}, {Name: "etc/changed", Mode: 0o644, Uname: "as the image has it\n"}, {Name: "etc/mode", Mode: 0o755, Uname: "mode"}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range files {
			text := h.Uname
			h.Uname, h.Format, h.Typeflag, h.Size = "", tar.FormatPAX, tar.TypeReg, int64(len(text))
			switch {
			case strings.HasSuffix(h.Name, "/"):
				h.Typeflag, h.Mode = tar.TypeDir, 0o755
			case h.Linkname != "":
				h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Config.Env = "linux", runtime.GOARCH, []string{"PATH=/bin"}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	file := filepath.Join(t.TempDir(), "drift.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ociimage.Archive(f, driftImage, index), f.Close()); err != nil {
		t.Fatal(err)
	}
	if labTool == "" {
		t.Fatal("IRKIT_LAB_PROGRAM names no lab: run `make e2e`")
	}
	if out, err := exec.CommandContext(t.Context(), labTool, "load", file).CombinedOutput(); err != nil {
		t.Fatalf("load the image: %v\n%s", err, out)
	}
	return file
}

// TestDriftFromTheImage: one file changed, one with another mode, one added and one deleted
// are exactly what a container is said to differ in from the image that it runs, and theirs
// are the only bytes that come.
func TestDriftFromTheImage(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	archive := driftArchive(t)
	const intrude = `echo evil >>/etc/changed; chmod 4755 /etc/mode; rm /etc/gone; echo new >/etc/added
while :; do sleep 3600; done`
	pod := own(t, c, "drift", corev1.Container{
		Image: driftImage, Command: []string{"/bin/sh", "-c", intrude},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/test", "-e", "/etc/added"}}}, PeriodSeconds: 1,
		},
	})
	p := newPerson(t)
	r := p.collect(pod, "--case", "drift", "--image-archive", archive).want(t, 0).result(t)
	all := entries(t, r.Bundle)
	e := find(t, all, drift.Kind, "c0")
	if e.Status != evidence.Collected {
		t.Fatalf("drift: %s: %s", e.Status, e.Reason)
	}
	var got []string
	for _, row := range lines[drift.Row](t, content(t, r.Bundle, e)) {
		if row.Change == drift.Added && row.Reason != "" {
			continue // what the runtime makes for its mounts
		}
		var at string
		if row.Now != nil {
			at = row.Now.Path
		} else {
			at = row.Image.Path
		}
		got = append(got, strings.TrimSpace(row.Change+" "+at+" "+strings.Join(row.What, ",")))
	}
	want := []string{"added /etc/added", "changed /etc/changed size,content,mtime", "deleted /etc/gone", "changed /etc/mode mode"}
	if !slices.Equal(got, want) {
		t.Errorf("drift %q, want %q\nnotes %q", got, want, e.Notes)
	}
	files := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(content(t, r.Bundle, find(t, all, "filesystem", "c0")))); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
	}
	if files["etc/changed"] != "as the image has it\nevil\n" || files["etc/added"] != "new\n" || files["etc/mode"] != "mode" {
		t.Errorf("bytes of what differs: %q", files)
	}
	for _, same := range []string{"bin/busybox", "bin/sh", "etc/same"} {
		if _, came := files[same]; came {
			t.Errorf("%s came, and is the image's", same)
		}
	}
	index := string(content(t, r.Bundle, find(t, all, "image-index", "c0")))
	if !strings.Contains(index, `"/etc/gone"`) || strings.Contains(index, "below") {
		t.Errorf("index of the image: %s", index)
	}
	if m := find(t, all, "image-manifest", "c0"); m.Trust != evidence.TrustGiven || len(m.Notes) == 0 || strings.Contains(strings.Join(m.Notes, ";"), "by its name") {
		t.Errorf("manifest: trust %s, notes %q", m.Trust, m.Notes)
	}
	if b := string(mustRead(t, filepath.Join(r.Bundle, filepath.FromSlash(evidence.Bodyfile)))); !strings.Contains(b, "|c0:/etc/added|") {
		t.Error("the body of file times has no /etc/added")
	}
	if err := verifyStock(t, r.Bundle); err != nil {
		t.Error(err)
	}
}
