package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Bag checks a folder as a BagIt 1.0 bag (RFC 8493), whoever wrote it: every digest of
// SHA-256 and SHA-512, completeness, scope of paths, Payload-Oxum. A bag that still has to
// fetch files does not pass. The error is for a folder that could not be read, or for ctx.
func Bag(ctx context.Context, dir string) ([]Finding, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("verify bag: %w", err)
	}
	defer root.Close()
	var f findings
	if _, err := readBag(ctx, root, false, &f); err != nil {
		return f.sorted(), fmt.Errorf("verify bag %s: %w", dir, err)
	}
	return f.sorted(), nil
}

// bag is a bag as it was read and compared.
type bag struct {
	*tree
	lists []manifest
	info  bagInfo
	bytes int64 // of the payload
	count int
}

var bagitForm = regexp.MustCompile(`^BagIt-Version: 1\.0\r?\nTag-File-Character-Encoding: UTF-8(\r?\n)?$`)

func readBag(ctx context.Context, root *os.Root, strict bool, f *findings) (*bag, error) {
	t, err := walk(ctx, root, f)
	if err != nil {
		return nil, err
	}
	b := &bag{tree: t}
	b.declaration(f)
	if err := b.readLists(strict, f); err != nil {
		return nil, err
	}
	if b.info, err = readBagInfo(t, f); err != nil {
		return nil, err
	}
	b.complete(f)
	b.oxum(f)
	b.twins(strict, f)
	return b, b.compare(ctx, f)
}

func (b *bag) declaration(f *findings) {
	text, err := b.read("bagit.txt", 1024)
	if err != nil {
		f.add("bagit-txt", "bagit.txt", "%v", err)
	} else if !bagitForm.Match(text) {
		f.add("bagit-txt", "bagit.txt", "does not declare BagIt 1.0 and UTF-8 in the one form allowed")
	}
	if !b.dirs["data"] {
		f.add("missing", "data", "is not there, or is no folder")
	}
	if _, ok := b.files["fetch.txt"]; ok {
		f.add("fetch", "fetch.txt", "the bag is not whole: files are still to be fetched")
	}
}

func (b *bag) readLists(strict bool, f *findings) error {
	var names []string
	for name := range b.files {
		if manifestName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 16 {
		f.add("too-much", "", "%d manifests", len(names))
		names = names[:16]
	}
	payload, budget := false, int64(maxLists)
	for _, name := range names {
		if budget -= b.files[name]; budget < 0 {
			f.add("too-much", name, "the manifests are more than %d bytes", maxLists)
			break
		}
		file, err := b.open(name, false)
		if err != nil {
			f.add("unreadable", name, "%v", err)
			continue
		}
		m, err := parseManifest(name, io.LimitReader(file, b.files[name]), strict, f)
		if err := errors.Join(err, file.Close()); err != nil {
			f.add("unreadable", name, "%v", err)
			continue
		}
		b.lists = append(b.lists, m)
		if digestSize(m.alg) == 0 {
			f.add("algorithm", name, "digests of this kind are not computed here")
			continue
		}
		payload = payload || m.payload
	}
	if !payload {
		f.add("missing", "", "no payload manifest with SHA-256 or SHA-512")
	}
	return nil
}

// complete holds lists and tree against each other. RFC 8493, section 2.1.3: every
// payload manifest lists every payload file.
func (b *bag) complete(f *findings) {
	for _, m := range b.lists {
		for p := range m.sums {
			if _, ok := b.files[p]; !ok {
				f.add("missing", p, "is listed in %s and not there", m.name)
			}
		}
	}
	for p, size := range b.files {
		if !strings.HasPrefix(p, "data/") {
			continue
		}
		b.count++
		b.bytes += size
		for _, m := range b.lists {
			if _, ok := m.sums[p]; m.payload && !ok {
				f.add("extra-file", p, "is not listed in %s", m.name)
			}
		}
	}
}

// twins finds names that one file system keeps apart and another does not.
func (b *bag) twins(strict bool, f *findings) {
	seen := make(map[string]string, len(b.files))
	names := make([]string, 0, len(b.files))
	for p := range b.files {
		names = append(names, p)
	}
	slices.Sort(names)
	for _, p := range names {
		low := strings.ToLower(p)
		if other, ok := seen[low]; ok && strict {
			f.add("case-twin", p, "differs from %s only in case", plain(other))
		} else if ok {
			f.warn("case-twin", p, "differs from %s only in case", plain(other))
		}
		seen[low] = p
	}
}

func (b *bag) list(name string) (manifest, bool) {
	for _, m := range b.lists {
		if m.name == name {
			return m, true
		}
	}
	return manifest{}, false
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
