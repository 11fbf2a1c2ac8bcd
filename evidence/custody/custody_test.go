package custody

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"irkit.dev/irkit/evidence"
)

const bundle = "irkit-case-01"

func opts() Options {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	return Options{Bundle: bundle, Case: "case", Clock: func() time.Time { at = at.Add(time.Second); return at }}
}

func testRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func testLog(t *testing.T, root *os.Root) *Log {
	t.Helper()
	l, err := Open(t.Context(), root, evidence.CustodyJSONL, opts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *Log, r evidence.Record) evidence.Digest {
	t.Helper()
	_, d, err := l.Append(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAppendedRecordsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	root := testRoot(t, dir)
	l := testLog(t, root)
	hostile := "web\x1b]52;\u202e\x00 \U0001f980 \u2028 <script>"
	add(t, l, evidence.Record{Action: evidence.ActOpened, Note: hostile})
	last := add(t, l, evidence.Record{
		Action: evidence.ActIsolated, Phase: evidence.Intend,
		Change: &evidence.Change{ID: "x", Before: []byte(`{"z":1,"a":{"y":12345678901234567890,"b":1.50}}`)},
		Data:   map[string]any{"n": 1 << 60},
	})
	raw, err := os.ReadFile(filepath.Join(dir, evidence.CustodyJSONL))
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(raw, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }); i >= 0 {
		t.Errorf("byte %d of the log is not printable ASCII", i)
	}
	if !bytes.Contains(raw, []byte(`"before":{"a":{"b":1.50,"y":12345678901234567890},"z":1}`)) {
		t.Errorf("keys are not sorted or numbers changed:\n%s", raw)
	}
	records, err := Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 2 || records[0].Note != hostile || records[1].Seq != 1 || records[1].Bundle != bundle {
		t.Errorf("read back %+v", records)
	}
	lines := bytes.Split(raw, []byte("\n"))
	if want := evidence.Digest(sha256.Sum256(lines[1])); last != want || l.Head() != (Head{2, want}) {
		t.Errorf("head %v, digest %v, want %v", l.Head(), last, want)
	}
	if records[1].Prev != evidence.Digest(sha256.Sum256(lines[0])).Hex() || records[0].Prev != strings.Repeat("0", 64) {
		t.Error("prev is not the digest of the line before")
	}
}

// A crash may leave any part of the last line, or a whole line without sense.
func TestCrashTailIsSetAsideAndLogGoesOn(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, testRoot(t, dir))
	add(t, l, evidence.Record{Action: evidence.ActOpened})
	add(t, l, evidence.Record{Action: evidence.ActStep, Note: "the last"})
	l.Close()
	name := filepath.Join(dir, evidence.CustodyJSONL)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	tails := [][]byte{bytes.Repeat([]byte{0}, 300), []byte("{}}\n"), []byte("\n"), []byte("\x00\x00\n")}
	for i := 1; i < len(whole)-first; i += 7 {
		tails = append(tails, whole[first:first+i])
	}
	for _, tail := range tails {
		t.Run(fmt.Sprintf("%d-%q", len(tail), tail[:min(3, len(tail))]), func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, evidence.CustodyJSONL)
			if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, slices.Concat(whole[:first], tail), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(bytes.NewReader(slices.Concat(whole[:first], tail))); !errors.Is(err, ErrTail) {
				t.Fatalf("Read: %v, want ErrTail", err)
			}
			l := testLog(t, testRoot(t, dir))
			add(t, l, evidence.Record{Action: evidence.ActStep, Note: "after"})
			l.Close()
			again := testLog(t, testRoot(t, dir))
			got := again.Records()
			if len(got) != 3 || got[1].Action != evidence.ActRecovered || len(got[1].Objects) != 1 || got[2].Note != "after" {
				t.Fatalf("records after the crash: %+v", got)
			}
			kept, err := os.ReadFile(filepath.Join(dir, got[1].Objects[0].Path))
			if err != nil || !bytes.Equal(kept, tail) {
				t.Errorf("tail kept as %q, %v", kept, err)
			}
		})
	}
}

// The crash came after the tail was set aside and before the record of it.
func TestTailWithoutRecordIsToldAtNextOpen(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, testRoot(t, dir))
	add(t, l, evidence.Record{Action: evidence.ActOpened})
	l.Close()
	tail := filepath.Join(dir, evidence.CustodyJSONL+".tail-000001-00.bin")
	if err := os.WriteFile(tail, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l := testLog(t, testRoot(t, dir))
		if r := l.Records(); len(r) != 2 || r[1].Action != evidence.ActRecovered {
			t.Fatalf("records %+v", r)
		}
		l.Close()
	}
}

func TestBrokenChainIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, testRoot(t, dir))
	for i := range 4 {
		add(t, l, evidence.Record{Action: evidence.ActStep, Note: fmt.Sprint("step ", i)})
	}
	l.Close()
	name := filepath.Join(dir, evidence.CustodyJSONL)
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(raw), "\n")[:4]
	for what, bad := range map[string][]string{
		"edited":    {lines[0], strings.Replace(lines[1], "step 1", "step 9", 1), lines[2], lines[3]},
		"reordered": {lines[0], lines[2], lines[1], lines[3]},
		"taken out": {lines[0], lines[2], lines[3]},
		"beheaded":  lines[1:],
		"doubled":   {lines[0], lines[0], lines[1], lines[2]},
		"torn":      {lines[0], lines[1][:40] + "\n", lines[2]},
	} {
		t.Run(what, func(t *testing.T) {
			text := strings.Join(bad, "")
			var broken *BrokenError
			if _, err := Read(strings.NewReader(text)); !errors.As(err, &broken) {
				t.Errorf("Read: %v, want a BrokenError", err)
			}
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if l, err := Open(t.Context(), testRoot(t, dir), evidence.CustodyJSONL, opts()); !errors.As(err, &broken) {
				t.Errorf("Open: %v, %v; want a BrokenError", l, err)
			}
			if after, _ := os.ReadFile(name); string(after) != text {
				t.Error("a log that does not hold was changed")
			}
		})
	}
}

func TestAppendsOfManyKeepOneChain(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, testRoot(t, dir))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				if _, _, err := l.Append(t.Context(), evidence.Record{Action: evidence.ActStep, Note: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	raw, err := os.ReadFile(filepath.Join(dir, evidence.CustodyJSONL))
	if err != nil {
		t.Fatal(err)
	}
	if records, err := Read(bytes.NewReader(raw)); err != nil || len(records) != 40 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func TestSealedBundleTakesNoRecord(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, testRoot(t, dir))
	add(t, l, evidence.Record{Action: evidence.ActSealed})
	if err := os.WriteFile(filepath.Join(dir, evidence.SealSignature), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Append(t.Context(), evidence.Record{Action: evidence.ActStep}); !errors.Is(err, ErrSealed) {
		t.Errorf("Append: %v, want ErrSealed", err)
	}
	if _, err := Open(t.Context(), testRoot(t, dir), evidence.CustodyJSONL, opts()); !errors.Is(err, ErrSealed) {
		t.Errorf("Open: %v, want ErrSealed", err)
	}
}

func TestChainGoesOnBesideTheSealedBundle(t *testing.T) {
	caseDir := t.TempDir()
	dir := filepath.Join(caseDir, bundle)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := testLog(t, testRoot(t, dir))
	head := add(t, l, evidence.Record{Action: evidence.ActSealed})
	l.Close()
	caseRoot := testRoot(t, caseDir)
	if _, err := Continue(caseRoot, opts()); err == nil {
		t.Error("a bundle without a seal was continued")
	}
	for name, text := range map[string]string{evidence.TagManifestSHA256: "tags\n", evidence.SealSignature: "sig"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		later, err := Continue(caseRoot, opts())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Continue(caseRoot, opts()); err == nil {
			t.Error("two wrote the same chain")
		}
		rec, digest, err := later.Append(t.Context(), evidence.Record{Action: evidence.ActHashVerified})
		if err != nil {
			t.Fatal(err)
		}
		if rec.Seq != i+1 || rec.Seal != evidence.Digest(sha256.Sum256([]byte("tags\n"))).Hex() || i == 0 && rec.Prev != head.Hex() {
			t.Errorf("record %d: %+v", i, rec)
		}
		name := filepath.Join(caseDir, evidence.CustodyDir(bundle), evidence.CustodyName(rec.Seq, digest))
		if b, err := os.ReadFile(name); err != nil || sha256.Sum256(bytes.TrimSuffix(b, []byte("\n"))) != digest {
			t.Errorf("file %s: %q, %v", name, b, err)
		}
		later.Close()
	}
	records, end, err := ReadBundle(caseRoot, bundle)
	if err != nil || len(records) != 4 || end.Next != 4 {
		t.Fatalf("%d records, head %+v, %v", len(records), end, err)
	}
	names, _ := filepath.Glob(filepath.Join(caseDir, evidence.CustodyDir(bundle), "*"))
	if err := os.Remove(names[1]); err != nil {
		t.Fatal(err)
	}
	var broken *BrokenError
	if _, err := Continue(caseRoot, opts()); !errors.As(err, &broken) {
		t.Errorf("a record in the middle is gone: %v", err)
	}
}

func TestCancelledAppendAddsNothing(t *testing.T) {
	l := testLog(t, testRoot(t, t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.Append(ctx, evidence.Record{}); !errors.Is(err, context.Canceled) || l.Head().Next != 0 {
		t.Errorf("%v, head %+v", err, l.Head())
	}
}

func TestEarlierBundleIsNamedInTheFirstRecordOnly(t *testing.T) {
	o := opts()
	o.Earlier = &evidence.Earlier{Bundle: "irkit-case-00", Seal: "s", Head: "h"}
	l, err := Open(t.Context(), testRoot(t, t.TempDir()), evidence.CustodyJSONL, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	add(t, l, evidence.Record{Action: evidence.ActOpened})
	add(t, l, evidence.Record{Action: evidence.ActStep})
	if r := l.Records(); r[0].Earlier == nil || r[1].Earlier != nil {
		t.Errorf("records %+v", r)
	}
}

func TestCaseFolderHasOneHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cases", "case")
	held, err := LockCase(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder %v, %v", info.Mode(), err)
	}
	var other *HeldError
	if _, err := LockCase(dir); !errors.As(err, &other) || other.PID != os.Getpid() {
		t.Errorf("second lock: %v", err)
	}
	if err := errors.Join(held.Unlock(), held.Unlock()); err != nil {
		t.Error(err)
	}
	again, err := LockCase(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Unlock()
}

func FuzzRead(f *testing.F) {
	zero := strings.Repeat("0", 64)
	f.Add([]byte(`{"prev":"` + zero + `","seq":0,"v":1}` + "\n"))
	f.Add([]byte(`{"prev":"` + zero + `","seq":0,"v":1}` + "\n{\n{\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := Read(bytes.NewReader(b))
		if err == nil && len(records) != bytes.Count(b, []byte("\n")) {
			t.Errorf("%d records in %q", len(records), b)
		}
		for i, r := range records {
			if r.Seq != i || r.V != 1 {
				t.Errorf("record %d is %+v", i, r)
			}
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add("a\x7f\u00e9\U0001f980\xff")
	f.Fuzz(func(t *testing.T, s string) {
		line, err := Line(map[string]any{"s": s, "a": 1})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 || !bytes.HasPrefix(line, []byte(`{"a":1,"s":`)) {
			t.Errorf("line %q", line)
		}
	})
}
