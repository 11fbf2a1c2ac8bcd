package bag_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/verify"
)

// finish opens what a crash left, seals it and verifies it.
func finish(t *testing.T, caseDir string) (verify.Result, []evidence.Entry, []string) {
	t.Helper()
	b := reopen(t, caseDir, bag.Options{Reserve: 1 << 20})
	told := b.w.Recovered()
	b.add("after", []byte("collected after the crash"), nil)
	b.seal(newKey(t))
	r, err := verify.Bundle(t.Context(), filepath.Join(caseDir, bundleID), verify.Options{Deep: true})
	if err != nil || r.Integrity != verify.OK {
		t.Fatalf("after the crash: %+v, %v", r, err)
	}
	left, err := filepath.Glob(filepath.Join(caseDir, bundleID+".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left beside the bundle: %v, %v", left, err)
	}
	return r, b.w.Entries(), told
}

// The state that a kill leaves is the state on disk while an artifact streams.
func TestCrashWhileAnArtifactArrives(t *testing.T) {
	for _, c := range []struct {
		name     string
		compress bool
		come     int
		announce bool
	}{
		{"first byte", false, 0, true}, {"one part", false, 900, true}, {"three parts", false, 2500, true},
		{"zstd", true, 64 << 10, true}, {"nobody knows", false, 900, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := create(t, bag.Options{Reserve: 1 << 20, SplitAt: 1000})
			b.add("whole", []byte("before the crash"), nil)
			var crashed string
			a := artifact("rootfs")
			a.Compress = c.compress
			noise := make([]byte, c.come)
			if _, err := rand.Read(noise); err != nil {
				t.Fatal(err)
			}
			stop := readerFunc(func([]byte) (int, error) { crashed = copyCase(t, b.caseDir); return 0, io.EOF })
			if _, err := b.w.Add(t.Context(), a, io.MultiReader(bytes.NewReader(noise), stop)); err != nil {
				t.Fatal(err)
			}
			if !c.announce {
				if err := os.RemoveAll(filepath.Join(crashed, bundleID+".arriving")); err != nil {
					t.Fatal(err)
				}
			}
			_, entries, told := finish(t, crashed)
			if len(entries) != 3 || len(told) != 1 {
				t.Fatalf("entries %+v, told %q", entries, told)
			}
			e := entries[1]
			if e.ID != "0002" || e.Status != evidence.Truncated || e.Reason != "session ended while it was written" || e.Kind != "rootfs" {
				t.Errorf("entry %+v", e)
			}
			if c.announce != (e.Trust == evidence.TrustDebugger && e.Container == "web" && e.OrigB64 != "") {
				t.Errorf("what was announced is not told: %+v", e)
			}
			if !c.compress && e.SHA256 != sum(noise) {
				t.Errorf("%d of %d bytes kept", e.Size, c.come)
			}
			if entries[0].Status != evidence.Collected || entries[2].ID != "0003" {
				t.Errorf("entries %+v", entries)
			}
		})
	}
}

func TestCrashWhileAnEntryIsWritten(t *testing.T) {
	b := create(t, none(t))
	b.add("one", []byte("1"), nil)
	b.add("two", []byte("2"), nil)
	name := filepath.Join(bundleID, evidence.EntriesJSONL)
	whole := mustRead(t, filepath.Join(b.caseDir, name))
	first := bytes.IndexByte(whole, '\n') + 1
	for _, tail := range []int{1, 40, len(whole) - first - 1} {
		crashed := copyCase(t, b.caseDir)
		if err := os.WriteFile(filepath.Join(crashed, name), whole[:first+tail], 0o600); err != nil {
			t.Fatal(err)
		}
		_, entries, told := finish(t, crashed)
		if len(entries) != 3 || entries[1].Kind != "two" || entries[1].Status != evidence.Truncated || len(told) != 2 {
			t.Errorf("tail of %d bytes: entries %+v, told %q", tail, entries, told)
		}
		kept, err := filepath.Glob(filepath.Join(crashed, name+".tail-*"))
		if err != nil || len(kept) != 1 || !bytes.Equal(mustRead(t, kept[0]), whole[first:first+tail]) {
			t.Errorf("tail kept in %v, %v", kept, err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.caseDir, name), append([]byte("{\n"), whole...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bag.Open(t.Context(), b.caseDir, bundleID, none(t)); err == nil {
		t.Error("a line that is broken in the middle was taken for a crash")
	}
}

// crashing copies the case folder when it is asked to sign: all is written but the seal.
type crashing struct {
	ssh.Signer
	crash func()
}

func (c crashing) Sign(r io.Reader, b []byte) (*ssh.Signature, error) {
	c.crash()
	return c.Signer.Sign(r, b)
}

func TestCrashInTheMiddleOfSeal(t *testing.T) {
	key := newKey(t)
	b := create(t, none(t))
	b.fill()
	var crashed string
	b.seal(crashing{key, func() { crashed = copyCase(t, b.caseDir) }})
	// In the order in which they are written.
	written := []string{
		evidence.AllowedSigners, evidence.BagItTxt, evidence.BagInfo, evidence.ManifestSHA256,
		evidence.ManifestSHA512, evidence.VerifyTxt, evidence.TagManifestSHA256,
	}
	for n := range len(written) + 1 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			caseDir := copyCase(t, crashed)
			for _, name := range written[n:] {
				if err := os.Remove(filepath.Join(caseDir, bundleID, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(caseDir, bundleID+".writing"), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
			w, err := bag.Open(t.Context(), caseDir, bundleID, none(t))
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Seal(t.Context(), key, info()); err != nil {
				t.Fatal(err)
			}
			r, err := verify.Bundle(t.Context(), w.Dir(), verify.Options{Signers: signersFile(t, key)})
			if err != nil || !r.OK() || r.Entries != 5 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	// The crash came after the signature and before the files were made read-only.
	caseDir := copyCase(t, b.caseDir)
	if err := os.Chmod(filepath.Join(caseDir, bundleID, evidence.BagInfo), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bag.Open(t.Context(), caseDir, bundleID, none(t)); !errors.Is(err, bag.ErrSealed) {
		t.Errorf("Open: %v", err)
	}
	if info, err := os.Stat(filepath.Join(caseDir, bundleID, evidence.BagInfo)); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

const childEnv = "IRKIT_TEST_BAG_CHILD"

// TestKilledWriter is the child of TestKill9AtAnyMoment.
func TestKilledWriter(t *testing.T) {
	caseDir := os.Getenv(childEnv)
	if caseDir == "" {
		t.Skip("runs only as a child of TestKill9AtAnyMoment")
	}
	b := &bench{TB: t, caseDir: caseDir}
	w, err := bag.Create(t.Context(), caseDir, bundleID, bag.Options{Reserve: 1 << 20, SplitAt: 3000})
	if err != nil {
		t.Fatal(err)
	}
	b.w = w
	b.openLog()
	for i := 0; ; i++ {
		b.record(evidence.ActStep)
		e := b.add("noise", bytes.Repeat([]byte{byte(i)}, 4000), func(a *evidence.Artifact) { a.Compress = i%2 == 0 })
		fmt.Println("entry", e.ID)
	}
}

func TestKill9AtAnyMoment(t *testing.T) {
	for round := range 4 {
		caseDir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledWriter$", "-test.v")
		cmd.Env = append(os.Environ(), childEnv+"="+caseDir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var last string
		seen := 0
		for lines := bufio.NewScanner(out); seen < 3+7*round && lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "entry "); ok {
				seen, last = seen+1, id
			}
		}
		cancel() // SIGKILL
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		_, entries, _ := finish(t, caseDir)
		i := slices.IndexFunc(entries, func(e evidence.Entry) bool { return e.ID == last })
		if seen == 0 || i < seen-1 || entries[i].Status != evidence.Collected {
			t.Errorf("round %d: %d entries were told, the last %q; found %+v", round, seen, last, entries)
		}
	}
}
