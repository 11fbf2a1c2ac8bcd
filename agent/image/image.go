// Package image makes irkit's own container image: the static agent on nothing else,
// for every architecture, the same bytes from the same binaries.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Path is where the agent stands in the image; it is the entrypoint.
const Path = "/irkit-agent"

// Build makes the index of one image for each architecture. binaries maps Go's words for
// architectures to static Linux programs.
func Build(version string, binaries map[string][]byte) (v1.ImageIndex, error) {
	if len(binaries) == 0 {
		return nil, fmt.Errorf("build agent image: no binaries")
	}
	arches := make([]string, 0, len(binaries))
	for a := range binaries {
		arches = append(arches, a)
	}
	slices.Sort(arches)
	index := emptyIndex()
	for _, arch := range arches {
		img, err := one(version, arch, binaries[arch])
		if err != nil {
			return nil, fmt.Errorf("build agent image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index, nil
}

func one(version, arch string, binary []byte) (v1.Image, error) {
	content, err := layer(binary)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: l, MediaType: types.OCILayer, History: v1.History{Created: epoch, CreatedBy: "irkit agent image", Comment: "the static agent"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, config(img, version, arch, epoch))
}

func config(img v1.Image, version, arch string, epoch v1.Time) *v1.ConfigFile {
	c := &v1.ConfigFile{}
	if had, err := img.ConfigFile(); err == nil {
		c = had.DeepCopy()
	}
	c.OS, c.Architecture, c.Created = "linux", arch, epoch
	c.Config.Entrypoint, c.Config.Cmd, c.Config.WorkingDir = []string{Path}, []string{"version"}, "/"
	c.Config.Labels = map[string]string{
		"org.opencontainers.image.title":    "irkit-agent",
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	return c
}

// layer is the file system: one file, whose time is none.
func layer(binary []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Name: Path[1:], Mode: 0o755, Size: int64(len(binary)), ModTime: time.Unix(0, 0).UTC(), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := w.WriteHeader(h); err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
