// Package images builds the lab's container images without a registry, and hands
// them to containerd.
package images

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"irkit.dev/irkit/lab/parts"
)

// The images that the manifests name. They are never pulled.
const (
	Pause      = "lab.local/pause:1"      // the sandbox
	Suspect    = "lab.local/suspect:1"    // the workload, with a shell
	Busybox    = "lab.local/busybox:1"    // a shell and its tools, as root
	Distroless = "lab.local/distroless:1" // one static binary, as user 65532
	DNS        = "lab.local/coredns:1"
)

// Build writes one archive with all of them.
func Build(set parts.Set, archive string) error {
	suspect, dns := set.Binary("suspect", "suspect"), set.Binary("coredns", "coredns")
	tools, err := busybox("/bin/busybox")
	if err != nil {
		return err
	}
	images := map[name.Tag]v1.Image{}
	for _, recipe := range []struct {
		tag    string
		layers [][]file
		config v1.Config
	}{
		{Pause, [][]file{program("pause", suspect)},
			v1.Config{Entrypoint: []string{"/pause", "pause"}}},
		{Busybox, [][]file{tools},
			v1.Config{Cmd: []string{"/bin/sh"}}},
		// Two layers: the intruded one stands on a shell, as services do.
		{Suspect, [][]file{tools, program("suspect", suspect)},
			v1.Config{Entrypoint: []string{"/suspect"}, Cmd: []string{"intrude"}}},
		{Distroless, [][]file{append(program("app", suspect), account("nonroot:x:65532:65532::/:/none\n")...)},
			v1.Config{Entrypoint: []string{"/app"}, Cmd: []string{"listen", ":9000"}, User: "65532:65532"}},
		{DNS, [][]file{program("coredns", dns)},
			v1.Config{Entrypoint: []string{"/coredns"}}},
	} {
		tag, err := name.NewTag(recipe.tag)
		if err != nil {
			return err
		}
		if images[tag], err = assemble(recipe.layers, recipe.config); err != nil {
			return fmt.Errorf("cannot build %s: %w", recipe.tag, err)
		}
	}
	return save(archive, images)
}

func assemble(content [][]file, config v1.Config) (v1.Image, error) {
	image := empty.Image
	for _, files := range content {
		layer, err := pack(files)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	configured, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	configured = configured.DeepCopy()
	configured.OS, configured.Architecture = "linux", architecture
	config.Env = []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin"}
	configured.Config = config
	return mutate.ConfigFile(image, configured)
}

// save replaces the archive in one step.
func save(archive string, images map[name.Tag]v1.Image) error {
	draft, err := os.CreateTemp(filepath.Dir(archive), ".images-*")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	defer draft.Close()
	if err := tarball.MultiWrite(images, draft); err != nil {
		return fmt.Errorf("cannot write %s: %w", archive, err)
	}
	if err := draft.Close(); err != nil {
		return err
	}
	return os.Rename(draft.Name(), archive)
}
