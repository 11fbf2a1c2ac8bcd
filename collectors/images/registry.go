package images

import (
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// options reach a registry with the responder's own docker configuration, or as nobody; the
// pod's pull secrets are never read.
func (s Sources) options(ctx context.Context, arch string) []remote.Option {
	o := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("irkit")}
	if arch != "" {
		o = append(o, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
	}
	return o
}

// pull reads manifest and configuration; layers come when they are opened.
func (s Sources) pull(ctx context.Context, ref name.Reference, w Want) (*Image, error) {
	from := "registry " + ref.Context().RegistryStr()
	got, err := remote.Get(ref, s.options(ctx, w.Arch)...)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", from, err)
	}
	img, err := got.Image()
	if err != nil {
		return nil, fmt.Errorf("read image from %s: %w", from, err)
	}
	i := &Image{From: from + ", " + ref.Name()}
	if i.Manifest, err = img.RawManifest(); err != nil {
		return nil, fmt.Errorf("read manifest from %s: %w", from, err)
	}
	if i.Config, err = img.RawConfigFile(); err != nil {
		return nil, fmt.Errorf("read configuration from %s: %w", from, err)
	}
	m, err := manifestOf(i.Manifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	i.Digest = digestOf(i.Manifest)
	if w.Digest != "" && w.Digest != i.Digest && w.Digest != got.Digest.String() && w.Digest != m.Config.Digest.String() {
		return nil, fmt.Errorf("%s: %s is %s now, the container runs %s", from, ref.Name(), i.Digest, w.Digest)
	}
	if w.Digest == "" {
		i.Notes = append(i.Notes, "the container's status has no digest: the image was found by its name")
	}
	for _, d := range m.Layers {
		l, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("read layer %s from %s: %w", d.Digest, from, err)
		}
		i.Layers = append(i.Layers, layerOf(d.Digest.String(), false, func(context.Context) (io.ReadCloser, error) { return l.Compressed() }))
	}
	return i, nil
}
