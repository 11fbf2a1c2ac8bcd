package upload_test

import (
	"os"
	"path/filepath"
	"testing"

	"irkit.dev/irkit/evidence/upload"
	"irkit.dev/irkit/evidence/verify"
)

const (
	golden   = "../verify/testdata/golden-v1"
	goldenID = "irkit-golden-01kb0000000000000000000000"
)

// What comes back out of a store verifies as what went in, chain included.
func TestGoldenThereAndBack(t *testing.T) {
	src := t.TempDir()
	if err := os.CopyFS(src, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	s := folder(t)
	h, err := upload.Bundle(t.Context(), s, "", filepath.Join(src, goldenID), goldenID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Custody) != 2 {
		t.Errorf("%d later records went along, want 2", len(h.Custody))
	}
	r, err := verify.Bundle(t.Context(), filepath.Join(s.String(), goldenID), verify.Options{})
	if err != nil || r.Integrity != verify.OK {
		t.Errorf("bundle in the store: %+v, %v", r, err)
	}
}
