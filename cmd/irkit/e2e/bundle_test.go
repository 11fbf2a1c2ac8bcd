//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/evidence"
)

// entries are the lines of meta/entries.jsonl.
func entries(t *testing.T, bundle string) []evidence.Entry {
	t.Helper()
	return lines[evidence.Entry](t, mustRead(t, filepath.Join(bundle, filepath.FromSlash(evidence.EntriesJSONL))))
}

func records(t *testing.T, bundle string) []evidence.Record {
	t.Helper()
	return lines[evidence.Record](t, mustRead(t, filepath.Join(bundle, filepath.FromSlash(evidence.CustodyJSONL))))
}

func lines[T any](t *testing.T, b []byte) []T {
	t.Helper()
	var out []T
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		out = append(out, v)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// find is the one entry of a kind and container.
func find(t *testing.T, all []evidence.Entry, kind, ordinal string) evidence.Entry {
	t.Helper()
	for _, e := range all {
		if e.Kind == kind && e.Ordinal == ordinal {
			return e
		}
	}
	t.Fatalf("no entry %s of %s", kind, ordinal)
	return evidence.Entry{}
}

// content is an entry's own bytes, joined and decompressed.
func content(t *testing.T, bundle string, e evidence.Entry) []byte {
	t.Helper()
	var b []byte
	for _, p := range e.Parts {
		b = append(b, mustRead(t, filepath.Join(bundle, filepath.FromSlash(p.Path)))...)
	}
	return plain(t, b)
}

func plain(t *testing.T, b []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return b
	}
	r, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// whereIs lists the files of a folder that hold a text, decompressed.
func whereIs(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if bytes.Contains(plain(t, mustRead(t, path)), []byte(text)) {
			rel, _ := filepath.Rel(dir, path)
			found = append(found, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// verifyStock checks a bundle with stock tools alone: sha256sum, and the shell block
// of its own VERIFY.txt.
func verifyStock(t *testing.T, bundle string) error {
	t.Helper()
	// Of a bundle that holds nothing, sha256sum says that its list has no lines.
	if len(mustRead(t, filepath.Join(bundle, evidence.ManifestSHA256))) > 0 {
		if _, err := stock(t, bundle, "sha256sum", "--strict", "--quiet", "-c", evidence.ManifestSHA256); err != nil {
			return err
		}
	}
	if _, err := stock(t, bundle, "sha256sum", "--strict", "--quiet", "-c", evidence.TagManifestSHA256); err != nil {
		return err
	}
	_, err := stock(t, bundle, "sh", "-c", recipe(t, bundle))
	return err
}

// recipe is the shell block of VERIFY.txt, as a person would cut it out.
func recipe(t *testing.T, bundle string) string {
	t.Helper()
	text := string(mustRead(t, filepath.Join(bundle, evidence.VerifyTxt)))
	_, rest, ok := strings.Cut(text, "\n# begin irkit-verify\n")
	block, _, closed := strings.Cut(rest, "\n# end irkit-verify\n")
	if !ok || !closed {
		t.Fatalf("VERIFY.txt has no shell block:\n%s", text)
	}
	return block
}
