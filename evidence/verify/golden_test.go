package verify

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"irkit.dev/irkit/evidence"
)

// The golden bundle was made once by the writer of format 1 (evidence/bag, TestGolden).
// Every later version must verify it: that is the promise of docs/bundle-format.md.
const (
	goldenDir = "testdata/golden-v1"
	goldenID  = "irkit-golden-01kb0000000000000000000000"
)

func TestGoldenBundleVerifies(t *testing.T) {
	r, err := Bundle(t.Context(), filepath.Join(goldenDir, goldenID), Options{Signers: filepath.Join(goldenDir, "allowed_signers"), Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Integrity != OK || r.Origin != OK || len(r.Findings) > 0 {
		t.Fatalf("%+v", r)
	}
	if r.Bundle != goldenID || r.Principal != "test-only@irkit.invalid" || r.Entries != 6 || r.Files != 12 || r.Later != 2 || r.Records != 4 {
		t.Errorf("%+v", r)
	}
	for s, n := range map[evidence.Status]int{evidence.Collected: 4, evidence.Truncated: 1, evidence.Impossible: 1} {
		if r.Statuses[s] != n {
			t.Errorf("%s: %d, want %d", s, r.Statuses[s], n)
		}
	}
	if f, err := Bag(t.Context(), filepath.Join(goldenDir, goldenID)); err != nil || len(f) > 0 {
		t.Errorf("as a plain bag: %v, %v", f, err)
	}
}

// One bit anywhere in any file of the bundle is found.
func TestOneBitAnywhereIsFound(t *testing.T) {
	source := os.DirFS(goldenDir)
	dir := filepath.Join(t.TempDir(), "case")
	if err := os.CopyFS(dir, source); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, goldenID)
	n := 0
	err := filepath.WalkDir(bundle, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		whole, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := os.Chmod(p, 0o600); err != nil {
			return err
		}
		for _, at := range []int{0, len(whole) / 3, len(whole) / 2, len(whole) - 1} {
			if at < 0 || at >= len(whole) {
				continue
			}
			hurt := append([]byte(nil), whole...)
			hurt[at] ^= 1
			if err := os.WriteFile(p, hurt, 0o600); err != nil {
				return err
			}
			r, err := Bundle(t.Context(), bundle, Options{})
			if err != nil {
				return err
			}
			if r.Integrity != Failed {
				t.Errorf("%s, byte %d: not found", p, at)
			}
			n++
		}
		return os.WriteFile(p, whole, 0o600)
	})
	if err != nil || n < 40 {
		t.Errorf("%d bits turned, %v", n, err)
	}
	if r, err := Bundle(t.Context(), bundle, Options{}); err != nil || r.Integrity != OK {
		t.Errorf("put back: %+v, %v", r, err)
	}
}

// So does its own VERIFY.txt, as it was then.
func TestGoldenRecipeStillRuns(t *testing.T) {
	for _, tool := range []string{"sh", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	text, err := os.ReadFile(filepath.Join(goldenDir, goldenID, evidence.VerifyTxt))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-s", "--", filepath.Join(goldenDir, goldenID), filepath.Join(goldenDir, "allowed_signers"))
	cmd.Stdin = bytes.NewReader(regexp.MustCompile(`(?ms)^# begin irkit-verify.*^# end irkit-verify$`).Find(text))
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("INTEGRITY: OK\nORIGIN: OK\n")) {
		t.Errorf("%v\n%s", err, out)
	}
}
