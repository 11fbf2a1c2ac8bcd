package playbooks

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
)

// Cases is the folder that holds all cases of this machine: <home>/cases.
type Cases struct{ Home string }

// Dir is the folder of one case. It holds the case's bags, what stands beside them,
// and the case key; 0700.
func (c Cases) Dir(caseID string) string { return filepath.Join(c.Home, "cases", caseID) }

// FoldCase makes a case identifier out of what a person wrote: [a-z0-9-]{1,40}, since it
// becomes part of labels and names of objects.
func FoldCase(s string) (string, error) {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	id := strings.Trim(b.String(), "-")
	if len(id) > 40 {
		id = strings.Trim(id[:40], "-")
	}
	if id == "" {
		return "", fmt.Errorf("case %q: no letter a-z or digit in it", s)
	}
	return id, nil
}

// NewCase names a case that nobody named: day, pod, and the start of its UID.
func NewCase(t evidence.Target, now time.Time) string {
	day, pod := now.UTC().Format("20060102"), t.Pod
	if room := 40 - len(day) - 8 - 2; len(pod) > room {
		pod = pod[:room]
	}
	id, err := FoldCase(day + "-" + pod + "-" + t.ShortUID())
	if err != nil { // a pod's name has letters, by RFC 1123
		return day
	}
	return id
}

// All lists the identifiers of the cases that are here.
func (c Cases) All() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(c.Home, "cases"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// Key is the case key: 32 random bytes that never enter a bag. It keys the digests
// that stand for values which stay out, and what the hands are told apart by.
type Key [32]byte

const keyName = "case-key"

// LoadKey reads the key of a case, and makes it on first use. The case must be locked.
func LoadKey(caseDir string) (Key, error) {
	k, err := readKey(caseDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	_, _ = rand.Read(k[:]) // never fails
	return k, writeKey(filepath.Join(caseDir, keyName), k)
}

// readKey is LoadKey for who may write nothing.
func readKey(caseDir string) (Key, error) {
	var k Key
	path := filepath.Join(caseDir, keyName)
	b, err := os.ReadFile(path)
	if err != nil {
		return k, fmt.Errorf("read case key: %w", err)
	}
	if len(b) != len(k) {
		return k, fmt.Errorf("read case key %s: %d bytes, want %d", path, len(b), len(k))
	}
	copy(k[:], b)
	return k, nil
}

func writeKey(path string, k Key) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make case key: %w", err)
	}
	_, err = f.Write(k[:])
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make case key: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// For derives the key of one use.
func (k Key) For(use string) []byte {
	m := hmac.New(sha256.New, k[:])
	m.Write([]byte(use))
	return m.Sum(nil)
}
