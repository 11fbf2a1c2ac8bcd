package image

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Archive writes the image as a tar of an OCI image layout (OCI image-spec 1.1,
// image-layout), which `ctr images import` and `podman load` take, under the name ref.
// The same image and name give the same bytes.
func Archive(w io.Writer, ref string, index v1.ImageIndex) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("archive agent image as %q: %w", ref, err)
	}
	dir, err := os.MkdirTemp("", "irkit-image-")
	if err != nil {
		return fmt.Errorf("archive agent image: %w", err)
	}
	defer os.RemoveAll(dir)
	p, err := layout.Write(dir, emptyIndex())
	if err != nil {
		return fmt.Errorf("archive agent image: %w", err)
	}
	names := map[string]string{
		"io.containerd.image.name":          tag.Name(),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return fmt.Errorf("archive agent image: %w", err)
	}
	if err := pack(w, dir); err != nil {
		return fmt.Errorf("archive agent image: %w", err)
	}
	return nil
}

func pack(w io.Writer, dir string) error {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(files)
	t := tar.NewWriter(w)
	for _, f := range files {
		if err := add(t, dir, f); err != nil {
			return err
		}
	}
	return t.Close()
}

func add(t *tar.Writer, dir, path string) error {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(0, 0).UTC(), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = t.Write(b)
	return err
}
