package images_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/collectors/drift"
	"irkit.dev/irkit/collectors/images"
)

// imageOf has one layer with one file.
func imageOf(t *testing.T, content string, compress func([]byte) []byte) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "app", Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(compress(b.Bytes()))), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

func as(b []byte) []byte { return b }

func zstandard(b []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(b, nil)
}

func digest(t *testing.T, i interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func layoutOf(t *testing.T, ref string, ix v1.ImageIndex, imgs ...v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	named := layout.WithAnnotations(map[string]string{"io.containerd.image.name": ref})
	for _, i := range imgs {
		if err := p.AppendImage(i, named); err != nil {
			t.Fatal(err)
		}
	}
	if ix != nil {
		if err := p.AppendIndex(ix, named); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packed is a layout as one tar.
func packed(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// holds wants the image's one file to be there, by its digest.
func holds(t *testing.T, i *images.Image, err error, content string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	defer i.Close()
	x, err := drift.Read(t.Context(), i.Layers, drift.Limits{Dir: t.TempDir()})
	if err != nil {
		t.Error(err)
		return
	}
	defer x.Close()
	var size int64
	if err := x.Each(t.Context(), func(f drift.File) error { size += f.Size; return nil }); err != nil || size != int64(len(content)) || len(i.Config) == 0 || len(i.Manifest) == 0 {
		t.Errorf("%d bytes, %v; want those of %q", size, err, content)
	}
}

func TestArchives(t *testing.T) {
	const ref = "example.org/app:1"
	one, other := imageOf(t, "one", as), imageOf(t, "another", zstandard)
	config, err := one.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	ix := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	dir := layoutOf(t, ref, ix, other)
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(saved, tag, one); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, file string
		want       images.Want
		content    string // empty: not to be found
		byName     bool
	}{
		{"a folder, by digest", dir, images.Parse(ref, "example.org/app@"+digest(t, one), "amd64"), "one", false},
		{"a tar, by digest", packed(t, dir), images.Parse("x:1", "docker-pullable://example.org/app@"+digest(t, other), "arm64"), "another", false},
		{"of an index, by the node's architecture", dir, images.Parse("x:1", "x@"+digest(t, ix), "arm64"), "another", false},
		{"by the digest of its configuration", dir, images.Parse("x:1", config.String(), "amd64"), "one", false},
		{"by name", layoutOf(t, ref, nil, one), images.Parse(ref, "sha256:"+strings.Repeat("0", 64), "amd64"), "one", true},
		{"written by docker save, by configuration", saved, images.Parse("x:1", config.String(), "amd64"), "one", false},
		{"written by docker save, by name", saved, images.Parse(ref, ref+"@"+digest(t, one), "amd64"), "one", true},
		{"another digest and name", dir, images.Parse("y:1", "y@sha256:"+strings.Repeat("0", 64), "amd64"), "", false},
		{"docker save's, another", saved, images.Parse("y:1", "", "amd64"), "", false},
		{"no archive", os.DevNull, images.Parse(ref, "", "amd64"), "", false},
		{"no file", dir + "/gone", images.Parse(ref, "", "amd64"), "", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			i, err := images.Sources{Archives: []string{c.file}}.Open(t.Context(), c.want)
			if c.content == "" {
				if err == nil || errors.Is(err, images.ErrNoSource) {
					t.Errorf("found: %v", err)
				}
				return
			}
			holds(t, i, err, c.content)
			if i != nil && (len(i.Notes) > 0) != c.byName {
				t.Errorf("notes %q", i.Notes)
			}
		})
	}
}

// A layer whose bytes are not those of its digest is an error, whatever the archive says.
func TestForgedLayer(t *testing.T) {
	one := imageOf(t, "one", as)
	dir := layoutOf(t, "a:1", nil, one)
	ls, err := one.Layers()
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest(t, ls[0]), "sha256:"))
	evil, err := imageOf(t, "evil", as).Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := evil[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r)
	if err := os.WriteFile(forged, b, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := images.Sources{Archives: []string{dir}}.Open(t.Context(), images.Parse("a:1", "a@"+digest(t, one), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if _, err := drift.Read(t.Context(), i.Layers, drift.Limits{Dir: t.TempDir()}); !errors.Is(err, images.ErrDigest) {
		t.Errorf("a forged layer: %v", err)
	}
}

func TestRegistry(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	one := imageOf(t, "one", as)
	ref, err := name.ParseReference(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, one, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := images.Parse(ref.Name(), host+"/app@"+digest(t, one), "amd64")
	i, err := images.Sources{Registries: []string{host}}.Open(t.Context(), want)
	holds(t, i, err, "one")
	if i != nil && i.Digest != digest(t, one) {
		t.Errorf("digest %s", i.Digest)
	}
	i, err = images.Sources{Registries: []string{"any"}}.Open(t.Context(), want)
	holds(t, i, err, "one")
	if _, err := (images.Sources{Registries: []string{host}}).Open(t.Context(), images.Parse(ref.Name(), "sha256:"+strings.Repeat("0", 64), "amd64")); err == nil || !strings.Contains(err.Error(), "the container runs") {
		t.Errorf("a tag that was moved: %v", err)
	}
	for what, sources := range map[string]images.Sources{"none": {}, "another": {Registries: []string{"example.org"}}} {
		if _, err := sources.Open(t.Context(), want); !errors.Is(err, images.ErrNoSource) || !strings.Contains(err.Error(), "--registry "+host) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (images.Sources{Registries: []string{host}}).Open(ctx, want); err == nil {
		t.Error("asked after the end")
	}
}
