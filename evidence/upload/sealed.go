package upload

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// file is one file of a sealed bundle.
type file struct {
	path   string
	size   int64
	digest evidence.Digest
}

// sealFiles are the files that make a bundle whole, in the order in which they go.
func sealFiles() []string {
	return []string{evidence.TagManifestSHA256, evidence.SealTimestamp, evidence.SealSignature}
}

// sealed lists a sealed bundle's files with the digests that its manifests give, and
// refuses a bundle that holds anything else, or lacks something.
func sealed(ctx context.Context, root *os.Root) ([]file, error) {
	if _, err := root.Lstat(evidence.SealSignature); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrUnsealed
	}
	listed := map[string]evidence.Digest{}
	for _, name := range []string{evidence.TagManifestSHA256, evidence.ManifestSHA256} {
		if err := readManifest(root, name, listed); err != nil {
			return nil, err
		}
	}
	for _, name := range sealFiles() {
		d, err := digest(ctx, root, name)
		if errors.Is(err, fs.ErrNotExist) && name == evidence.SealTimestamp {
			continue
		}
		if err != nil {
			return nil, err
		}
		listed[name] = d
	}
	var files []file
	err := fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%q is not a file", p)
		}
		want, ok := listed[p]
		if !ok {
			return fmt.Errorf("%q is in no manifest: it was not sealed", p)
		}
		delete(listed, p)
		st, err := d.Info()
		if err == nil {
			files = append(files, file{p, st.Size(), want})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for p := range listed {
		return nil, fmt.Errorf("%q is in a manifest, but not in the bundle", p)
	}
	return files, nil
}

// readManifest adds the lines of a BagIt manifest (RFC 8493, section 2.1.3). In
// irkit's bundles no path needs the encoding that it describes.
func readManifest(root *os.Root, name string, into map[string]evidence.Digest) error {
	b, err := root.ReadFile(name)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 64<<10)
	for n := 1; lines.Scan(); n++ {
		hex, p, ok := strings.Cut(lines.Text(), " ")
		p = strings.TrimLeft(p, " ")
		var d evidence.Digest
		if err := d.UnmarshalText([]byte(hex)); err != nil || !ok || evidence.CheckKey(p) != nil || strings.ContainsRune(p, '%') {
			return fmt.Errorf("%s line %d: want a digest and a path", name, n)
		}
		if _, twice := into[p]; twice {
			return fmt.Errorf("%s line %d: %s is listed twice", name, n, p)
		}
		into[p] = d
	}
	return lines.Err()
}

func digest(ctx context.Context, root *os.Root, name string) (evidence.Digest, error) {
	if err := ctx.Err(); err != nil {
		return evidence.Digest{}, err
	}
	f, err := root.Open(name)
	if err != nil {
		return evidence.Digest{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return evidence.Digest{}, errors.Join(err, f.Close())
	}
	return evidence.Digest(h.Sum(nil)), f.Close()
}

// split takes the seal's files from the others, in their order.
func split(files []file) (first, last []file) {
	for _, f := range files {
		if !slices.Contains(sealFiles(), f.path) {
			first = append(first, f)
		}
	}
	for _, name := range sealFiles() {
		if i := slices.IndexFunc(files, func(f file) bool { return f.path == name }); i >= 0 {
			last = append(last, files[i])
		}
	}
	return first, last
}
