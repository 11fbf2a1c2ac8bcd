package embedded

import (
	"bytes"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
)

func packed(t *testing.T, b []byte) *fstest.MapFile {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return &fstest.MapFile{Data: e.EncodeAll(b, nil)}
}

func TestBinary(t *testing.T) {
	const limit = 1 << 16
	program := []byte("\x7fELF and so on")
	from := fstest.MapFS{
		"agents/irkit-agent-amd64.zst":   packed(t, program),
		"agents/irkit-agent-riscv64.zst": packed(t, make([]byte, limit+1)),
		"agents/irkit-agent-s390x.zst":   packed(t, []byte("#!/bin/sh")),
		"agents/irkit-agent-ppc64le.zst": {Data: []byte("no zstd")},
	}
	if b, err := binary(from, "amd64", limit); err != nil || !bytes.Equal(b, program) {
		t.Errorf("amd64: %q, %v", b, err)
	}
	if _, err := binary(from, "arm64", limit); !errors.Is(err, ErrAbsent) {
		t.Errorf("arm64: %v, want ErrAbsent", err)
	}
	for _, arch := range []string{"riscv64", "s390x", "ppc64le"} {
		if _, err := binary(from, arch, limit); err == nil || errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v, want another error", arch, err)
		}
	}
}

// TestBuiltIn looks at what this build holds: nothing, or programs for both.
func TestBuiltIn(t *testing.T) {
	for _, arch := range Arches() {
		b, err := Binary(arch)
		switch {
		case errors.Is(err, ErrAbsent):
			t.Logf("built without agent for %s: %s", arch, Hint)
		case err != nil:
			t.Error(err)
		default:
			t.Logf("agent for %s: %d bytes", arch, len(b))
		}
	}
}
