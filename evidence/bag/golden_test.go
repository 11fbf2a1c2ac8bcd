package bag_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/evidence/verify"
)

var golden = flag.String("golden", "", "write the golden bundle of this format to that new folder")

const goldenID = "irkit-golden-01kb0000000000000000000000"

// goldenKey is for the golden bundle alone. Anybody can make it: it must never be trusted.
func goldenKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("irkit golden bundle: TEST ONLY, never trust this key"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// TestGolden makes the golden bundle as it was first made, and checks it; with -golden it
// is kept. A bundle that stands in testdata is never made again: old formats must verify.
func TestGolden(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "golden")
	if *golden != "" {
		dir = *golden
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key := signer(t, goldenKey())
	clock := ticking()
	w, err := bag.Create(t.Context(), dir, goldenID, bag.Options{Clock: clock, SplitAt: 4096, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, caseDir: dir, w: w, clock: clock}
	b.openLog()
	b.record(evidence.ActOpened)
	b.fill()
	cut := artifact("connections")
	if _, err := w.Add(t.Context(), cut, io.MultiReader(bytes.NewReader([]byte("half")), iotest.ErrReader(errors.New("stream broke")))); err == nil {
		t.Fatal("a broken stream was whole")
	}
	b.record(evidence.ActCaptured)
	b.record(evidence.ActMeasured)
	if _, err := w.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.record(evidence.ActSealed)
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Seal(t.Context(), key, bag.Info{Case: "golden", Software: "irkit/golden-v1", Principal: "test-only@irkit.invalid"}); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o := b.logOptions()
	later, err := custody.Continue(root, o)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	for range 2 {
		if _, _, err := later.Append(t.Context(), evidence.Record{Action: evidence.ActHashVerified, Result: "ok"}); err != nil {
			t.Fatal(err)
		}
	}
	line, err := seal.AllowedSigner("test-only@irkit.invalid", key.PublicKey(), evidence.SealNamespace)
	if err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(dir, "allowed_signers")
	if err := os.WriteFile(signers, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Bundle(t.Context(), w.Dir(), verify.Options{Signers: signers, Deep: true})
	if err != nil || !r.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
}
