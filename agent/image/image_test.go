package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func programs() map[string][]byte {
	return map[string][]byte{"amd64": []byte("\x7fELF amd64"), "arm64": bytes.Repeat([]byte("\x7fELF arm64"), 10_000)}
}

func TestSameProgramsMakeTheSameBytes(t *testing.T) {
	var first []byte
	for range 2 {
		index, err := Build("v1", programs())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := Archive(&b, "example.org/irkit-agent:v1", index); err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, b.Bytes()) {
			t.Error("archives differ")
		}
		first = b.Bytes()
	}
	names, index := map[string]bool{}, ""
	for r := tar.NewReader(bytes.NewReader(first)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = true
		if h.Name == "index.json" {
			b, _ := io.ReadAll(r)
			index = string(b)
		}
		if h.ModTime.Unix() != 0 {
			t.Errorf("%s has a time: %v", h.Name, h.ModTime)
		}
	}
	if !names["oci-layout"] || !strings.Contains(index, "example.org/irkit-agent:v1") {
		t.Errorf("no OCI layout by that name: %v, %s", names, index)
	}
	if _, err := Build("v1", nil); err == nil {
		t.Error("an image of nothing was built")
	}
	if err := Archive(io.Discard, "NOT A NAME", nil); err == nil {
		t.Error("a bad name was taken")
	}
}

func TestPushAndPullByDigest(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	index, err := Build("v1", programs())
	if err != nil {
		t.Fatal(err)
	}
	ref := strings.TrimPrefix(s.URL, "http://") + "/irkit/agent:v1"
	o := PushOptions{Insecure: true, Keychain: authn.NewMultiKeychain()}
	pinned, err := Push(t.Context(), ref, index, o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Push(t.Context(), ref, index, o); err != nil || again != pinned {
		t.Errorf("pushed again: %s, %v; want %s", again, err, pinned)
	}
	r, err := name.ParseReference(pinned, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(r, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
	m, err := got.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("index: %+v, %v", m, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		d := m.Manifests[i]
		if d.Platform.Architecture != arch || d.Platform.OS != "linux" {
			t.Errorf("platform %v, want %s", d.Platform, arch)
		}
		img, err := got.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		c, err := img.ConfigFile()
		if err != nil || c.Architecture != arch || c.Config.Entrypoint[0] != Path || !c.Created.IsZero() && c.Created.Unix() != 0 {
			t.Errorf("configuration: %+v, %v", c, err)
		}
		ls, err := img.Layers()
		if err != nil || len(ls) != 1 {
			t.Fatalf("layers: %v, %v", ls, err)
		}
		rc, err := ls[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		tr := tar.NewReader(rc)
		h, err := tr.Next()
		if err != nil || h.Name != "irkit-agent" || h.Mode != 0o755 {
			t.Errorf("file: %+v, %v", h, err)
		}
		b, err := io.ReadAll(tr)
		if err != nil || !bytes.Equal(b, programs()[arch]) {
			t.Errorf("%d bytes of program, %v", len(b), err)
		}
		_ = rc.Close()
	}
	s.Close()
	if _, err := Push(t.Context(), ref, index, o); err == nil {
		t.Error("pushed to a registry that is gone")
	}
}
