// Package images reads the image that a container was started from, where the responder says
// it may be found: in an archive, or in a registry that may be asked. Nothing is unpacked. An
// image is only ever taken for the container's by its digest, or, in an archive that cannot
// carry the digest, by its name, and then says so.
package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"irkit.dev/irkit/collectors/drift"
)

// ErrNoSource says that the responder named neither an archive nor a registry that has the
// image: it was not looked for.
var ErrNoSource = errors.New("not looked for")

// Want names the image of a container.
type Want struct {
	Ref    string // as the pod's spec has it
	ID     string // as the container's status has it: a digest, or a reference by digest
	Arch   string // of the node, in Go's words
	Digest string // filled by Parse
}

// Parse reads the digest out of the status' words (docker-pullable://x@sha256:…, x@sha256:…,
// sha256:…). A container that never ran has none.
func Parse(ref, id, arch string) Want {
	w := Want{Ref: ref, ID: id, Arch: arch}
	if i := strings.LastIndex(id, "sha256:"); i >= 0 {
		w.Digest = id[i:]
	}
	return w
}

// Image is one image as it was found.
type Image struct {
	From     string // where, for people
	Digest   string // of the manifest; empty where there is none (docker save)
	Manifest []byte // its exact bytes
	Config   []byte
	Layers   []drift.Layer // the lowest first
	// Notes say what of the way to it a reader must know.
	Notes []string
	close func() error
}

// Close frees what the image was read from.
func (i *Image) Close() error {
	if i.close == nil {
		return nil
	}
	return i.close()
}

// Sources are where images may be looked for, as the responder said.
type Sources struct {
	Archives   []string // files or folders: OCI layout, or what docker save writes
	Registries []string // hosts that may be asked; "any" for all
	Plain      bool     // registries over plain HTTP
}

// Open finds an image. An archive goes before a registry. ErrNoSource says that nothing was
// looked at; another error says what was, and why it was not to be had.
func (s Sources) Open(ctx context.Context, w Want) (*Image, error) {
	var errs []error
	for _, file := range s.Archives {
		i, err := openArchive(file, w)
		if err == nil {
			return i, nil
		}
		errs = append(errs, err)
	}
	ref, err := w.reference(s.Plain)
	switch {
	case err != nil:
		errs = append(errs, err)
	case slices.Contains(s.Registries, "any") || slices.Contains(s.Registries, ref.Context().RegistryStr()):
		i, err := s.pull(ctx, ref, w)
		if err == nil {
			return i, nil
		}
		errs = append(errs, err)
	case len(s.Archives) == 0:
		return nil, fmt.Errorf("image %q: %w: no archive was given (--image-archive FILE), and registry %s was not to be asked (--registry %s)",
			w.Ref, ErrNoSource, ref.Context().RegistryStr(), ref.Context().RegistryStr())
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("image %q: %w", w.Ref, ErrNoSource)
	}
	return nil, fmt.Errorf("image %q: %w", w.Ref, errors.Join(errs...))
}

// reference is the image by digest where its repository is known, else by its name.
func (w Want) reference(plain bool) (name.Reference, error) {
	var o []name.Option
	if plain {
		o = append(o, name.Insecure)
	}
	id := w.ID[strings.LastIndex(w.ID, "://")+1:]
	if strings.Contains(id, "@sha256:") {
		if d, err := name.NewDigest(strings.TrimPrefix(id, "//"), o...); err == nil {
			return d, nil
		}
	}
	r, err := name.ParseReference(w.Ref, o...)
	if err != nil {
		return nil, fmt.Errorf("read image name: %w", err)
	}
	return r, nil
}

// sameName tells two names of one image.
func sameName(a, b string) bool {
	x, errX := name.ParseReference(a)
	y, errY := name.ParseReference(b)
	return errX == nil && errY == nil && x.Name() == y.Name()
}

const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 512
)

func readAll(r io.Reader, most int64, what string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("read %s: more than %d bytes", what, most)
	}
	return b, nil
}
