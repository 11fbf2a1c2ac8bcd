package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobs are the files of an archive.
type blobs interface {
	open(name string) (io.ReadCloser, error)
	Close() error
}

const maxNames = 200_000

// inTar finds files in a tar by where they stand: nothing is unpacked.
type inTar struct {
	f  *os.File
	at map[string][2]int64 // offset, size
}

func (t *inTar) open(name string) (io.ReadCloser, error) {
	p, ok := t.at[name]
	if !ok {
		return nil, fmt.Errorf("open %q in archive: %w", name, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(t.f, p[0], p[1])), nil
}

func (t *inTar) Close() error { return t.f.Close() }

// inDir finds them in a folder, which no name leads out of.
type inDir struct{ *os.Root }

func (d inDir) open(name string) (io.ReadCloser, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("open %q: not a plain file", name), err, f.Close())
	}
	return f, nil
}

func openBlobs(file string) (blobs, error) {
	i, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if i.IsDir() {
		root, err := os.OpenRoot(file)
		return inDir{root}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	t := &inTar{f, map[string][2]int64{}}
	if err := t.index(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

// index notes where files stand. archive/tar reads blocks of 512 bytes and no further, so
// that after a header the file is at its content.
func (t *inTar) index() error {
	for r := tar.NewReader(t.f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read as tar (a compressed archive is to be unpacked first): %w", err)
		}
		if len(t.at) == maxNames {
			return fmt.Errorf("read as tar: more than %d names", maxNames)
		}
		at, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			t.at[path.Clean(h.Name)] = [2]int64{at, h.Size}
		}
	}
}

// archive looks for one image.
type archive struct {
	blobs
	file string
	w    Want
	seen int
	name *v1.Descriptor // of that name; the digest did not say so
}

// openArchive finds an image in an archive.
func openArchive(file string, w Want) (*Image, error) {
	b, err := openBlobs(file)
	if err != nil {
		return nil, fmt.Errorf("open image archive %s: %w", file, err)
	}
	a := &archive{blobs: b, file: file, w: w}
	i, err := a.find()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image archive %s: %w", file, err), b.Close())
	}
	i.From, i.close = "archive "+file, b.Close
	return i, nil
}

func (a *archive) find() (*Image, error) {
	index, err := a.read("index.json", maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return a.saved()
	}
	if err != nil {
		return nil, err
	}
	d, err := a.among(index, false, 0)
	if err != nil {
		return nil, err
	}
	if d != nil {
		return a.image(*d)
	}
	if a.name == nil {
		return nil, fmt.Errorf("has no image %s", a.w.said())
	}
	i, err := a.image(*a.name)
	if err == nil {
		i.Notes = append(i.Notes, fmt.Sprintf("found by its name: no manifest in the archive has the digest that the container's status has (%s)", a.w.Digest))
	}
	return i, err
}

func (w Want) said() string {
	if w.Digest == "" {
		return "of that name"
	}
	return w.Digest + ", and none of that name"
}

func (a *archive) read(name string, most int64) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, most, name)
}

// blob reads a small blob, and compares its digest.
func (a *archive) blob(h v1.Hash, most int64) ([]byte, error) {
	b, err := a.read(blobName(h), most)
	if err == nil && digestOf(b) != h.String() {
		err = fmt.Errorf("blob %s: %w", h, ErrDigest)
	}
	return b, err
}

func blobName(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// among looks through an index and those in it. all: the index itself is the one that is
// wanted, and the platform decides.
func (a *archive) among(index []byte, all bool, depth int) (*v1.Descriptor, error) {
	var m v1.IndexManifest
	if err := json.Unmarshal(index, &m); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	if a.seen += len(m.Manifests); a.seen > 4096 || depth > 4 {
		return nil, errors.New("read index: more manifests than are looked at")
	}
	for _, d := range m.Manifests {
		named := sameName(d.Annotations["io.containerd.image.name"], a.w.Ref) || sameName(d.Annotations["org.opencontainers.image.ref.name"], a.w.Ref)
		wanted := all || d.Digest.String() == a.w.Digest
		if d.MediaType.IsIndex() {
			inner, err := a.blob(d.Digest, maxManifest)
			if err != nil {
				return nil, err
			}
			found, err := a.among(inner, wanted, depth+1)
			if found != nil || err != nil {
				return found, err
			}
			if named && a.name == nil {
				if a.name, err = a.among(inner, true, depth+1); err != nil {
					return nil, err
				}
			}
			continue
		}
		if !d.MediaType.IsImage() || d.Platform != nil && all && (d.Platform.OS != "linux" || a.w.Arch != "" && d.Platform.Architecture != a.w.Arch) {
			continue
		}
		if wanted || a.configured(d) {
			return &d, nil
		}
		if named {
			a.name = &d
		}
	}
	return nil, nil //nolint:nilnil // it is not among them
}

// configured tells an image that the status names by the digest of its configuration.
func (a *archive) configured(d v1.Descriptor) bool {
	b, err := a.blob(d.Digest, maxManifest)
	if err != nil {
		return false
	}
	m, err := manifestOf(b)
	return err == nil && a.w.Digest != "" && m.Config.Digest.String() == a.w.Digest
}

func manifestOf(b []byte) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("read manifest: %d layers, want %d at most", len(m.Layers), maxLayers)
	}
	return m, nil
}

func (a *archive) image(d v1.Descriptor) (*Image, error) {
	b, err := a.blob(d.Digest, maxManifest)
	if err != nil {
		return nil, err
	}
	m, err := manifestOf(b)
	if err != nil {
		return nil, err
	}
	i := &Image{Digest: d.Digest.String(), Manifest: b}
	if i.Config, err = a.blob(m.Config.Digest, maxConfig); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		i.Layers = append(i.Layers, layerOf(l.Digest.String(), false, func(context.Context) (io.ReadCloser, error) { return a.open(blobName(l.Digest)) }))
	}
	return i, nil
}
