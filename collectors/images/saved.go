package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// saved reads what docker save wrote before version 25: no manifest of the registry's, so
// that the configuration's digest or the name is all there is.
func (a *archive) saved() (*Image, error) {
	b, err := a.read("manifest.json", maxManifest)
	if err != nil {
		return nil, fmt.Errorf("neither an OCI layout nor written by docker save: %w", err)
	}
	var all []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	for _, byName := range []bool{false, true} {
		for _, one := range all {
			config, err := a.read(path.Clean(one.Config), maxConfig)
			if err != nil {
				return nil, err
			}
			named := false
			for _, tag := range one.RepoTags {
				named = named || sameName(tag, a.w.Ref)
			}
			if !byName && digestOf(config) != a.w.Digest || byName && !named {
				continue
			}
			i := &Image{Manifest: b, Config: config}
			if byName {
				i.Notes = append(i.Notes, fmt.Sprintf("found by its name: an archive of this form cannot prove the digest that the container's status has (%s)", a.w.Digest))
			}
			return i, a.savedLayers(i, one.Layers)
		}
	}
	return nil, fmt.Errorf("has no image %s", a.w.said())
}

func (a *archive) savedLayers(i *Image, names []string) error {
	var c v1.ConfigFile
	if err := json.Unmarshal(i.Config, &c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(names) != len(c.RootFS.DiffIDs) || len(names) > maxLayers {
		return fmt.Errorf("%d layers, the configuration has %d", len(names), len(c.RootFS.DiffIDs))
	}
	for n, name := range names {
		name = path.Clean(strings.TrimPrefix(name, "/"))
		i.Layers = append(i.Layers, layerOf(c.RootFS.DiffIDs[n].String(), true, func(context.Context) (io.ReadCloser, error) { return a.open(name) }))
	}
	return nil
}
