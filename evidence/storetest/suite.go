// Package storetest is what every evidence.Store must pass.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"irkit.dev/irkit/evidence"
)

// Large is above the size from which clients of object stores split a file into
// parts by themselves, and then lose the condition that the key be absent.
const Large = 17 << 20

// Run holds the store that open makes to the contract of [evidence.Store]. open is called once for each
// test and gives a store, or a prefix of one, that holds nothing.
func Run(t *testing.T, open func(t *testing.T) evidence.Store) {
	for name, test := range map[string]func(*testing.T, evidence.Store){
		"keeps every byte":                 keeps,
		"same bytes again":                 again,
		"other bytes never replace":        neverReplaces,
		"wrong digest is refused":          wrongDigest,
		"wrong size is refused":            wrongSize,
		"failing source leaves nothing":    failingSource,
		"cancelled context":                cancelled,
		"one winner of concurrent writers": oneWinner,
		"same bytes by concurrent writers": allSame,
		"absent is not found":              absent,
		"lists in order":                   lists,
		"list ends with its function":      listEnds,
		"hostile keys":                     hostileKeys,
		"names itself":                     namesItself,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Bytes makes n bytes that do not compress, the same for the same seed.
func Bytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// File is b on its way into a store.
func File(b []byte) evidence.File {
	return evidence.File{Size: int64(len(b)), SHA256: sha256.Sum256(b), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

func put(t *testing.T, s evidence.Store, key string, b []byte) evidence.Receipt {
	t.Helper()
	r, err := s.Put(t.Context(), key, File(b))
	if err != nil {
		t.Fatalf("Put(%s) of %d bytes: %v", key, len(b), err)
	}
	check(t, r, key, b)
	return r
}

func check(t *testing.T, r evidence.Receipt, key string, b []byte) {
	t.Helper()
	if r.Key != key || r.Size != int64(len(b)) || r.SHA256 != sha256.Sum256(b) {
		t.Fatalf("receipt %+v, want key %s, size %d, digest %x", r, key, len(b), sha256.Sum256(b))
	}
	if r.Stored.IsZero() {
		t.Fatalf("receipt of %s does not say when it was stored", key)
	}
}

func holds(t *testing.T, s evidence.Store, key string, b []byte) {
	t.Helper()
	rc, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("Open(%s): %v", key, err)
	}
	got, err := io.ReadAll(rc)
	if err := errors.Join(err, rc.Close()); err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	if !bytes.Equal(got, b) {
		t.Fatalf("%s holds %d bytes, sha256 %x; want %d, %x", key, len(got), sha256.Sum256(got), len(b), sha256.Sum256(b))
	}
	r, err := s.Stat(t.Context(), key)
	if err != nil {
		t.Fatalf("Stat(%s): %v", key, err)
	}
	check(t, r, key, b)
}

func holdsNothing(t *testing.T, s evidence.Store) {
	t.Helper()
	if keys := list(t.Context(), t, s, ""); len(keys) != 0 {
		t.Fatalf("store holds %q, want nothing", keys)
	}
}

func list(ctx context.Context, t *testing.T, s evidence.Store, prefix string) []string {
	t.Helper()
	var keys []string
	if err := s.List(ctx, prefix, func(r evidence.Receipt) error { keys = append(keys, r.Key); return nil }); err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	return keys
}
