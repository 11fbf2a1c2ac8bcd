package bag_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/verify"
)

// sent is a reader that knows what its source sent.
type sent struct {
	io.Reader
	trailer evidence.Trailer
}

func (s sent) Trailer() evidence.Trailer { return s.trailer }

func none(testing.TB) bag.Options { return bag.Options{Reserve: -1} }

func TestEntryTellsWhatIsStored(t *testing.T) {
	b := create(t, bag.Options{Reserve: 1 << 20})
	text := []byte("{\"pid\":1}\n")
	e := b.add("processes", text, nil)
	want := sha512.Sum512(text)
	if len(e.Parts) != 1 || e.Parts[0] != (evidence.Part{Path: "data/01-volatile/0001-c0-processes.jsonl", Size: 10, SHA256: sum(text), SHA512: hex.EncodeToString(want[:])}) {
		t.Errorf("parts %+v", e.Parts)
	}
	if e.Status != evidence.Collected || e.ID != "0001" || e.SHA256 != sum(text) || e.Size != 10 || e.Encoding != nil {
		t.Errorf("entry %+v", e)
	}
	stored := filepath.Join(b.w.Dir(), e.Parts[0].Path)
	if got := mustRead(t, stored); !bytes.Equal(got, text) {
		t.Errorf("stored %q", got)
	}
	for p, mode := range map[string]os.FileMode{stored: 0o600, filepath.Dir(stored): 0o700, b.w.Dir(): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	if _, err := os.Stat(b.w.Dir() + ".reserve"); err != nil {
		t.Errorf("no reserve: %v", err)
	}
	if names, _ := filepath.Glob(b.w.Dir() + ".arriving/*"); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	if got := b.w.Entries(); len(got) != 1 || got[0].ID != "0001" {
		t.Errorf("entries %+v", got)
	}
}

func TestCompressedEntryKeepsTheDigestOfBefore(t *testing.T) {
	b := create(t, bag.Options{Reserve: -1, SplitAt: 1000})
	text := bytes.Repeat([]byte("0123456789abcdef-irkit-\n"), 1<<16)
	for i := range text {
		text[i] ^= byte(i >> 8)
	}
	e := b.add("rootfs", text, func(a *evidence.Artifact) { a.Compress, a.Ext = true, "tar" })
	if e.Encoding == nil || e.Encoding.Name != "zstd" || e.Encoding.Size != int64(len(text)) || e.Encoding.SHA256 != sum(text) {
		t.Fatalf("encoding %+v", e.Encoding)
	}
	var stored []byte
	for i, p := range e.Parts {
		if want := fmt.Sprintf("data/01-volatile/0001-c0-rootfs.tar.zst.part%04d", i+1); p.Path != want || p.Size > 1000 {
			t.Errorf("part %+v, want %s", p, want)
		}
		stored = append(stored, mustRead(t, filepath.Join(b.w.Dir(), p.Path))...)
	}
	if len(e.Parts) < 2 || e.SHA256 != sum(stored) || e.Size != int64(len(stored)) {
		t.Errorf("%d parts, entry %+v", len(e.Parts), e)
	}
	dec, err := zstd.NewReader(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	if got, err := io.ReadAll(dec); err != nil || !bytes.Equal(got, text) {
		t.Errorf("unpacked %d bytes, %v", len(got), err)
	}
}

func TestPartsEndWhereTheyShould(t *testing.T) {
	b := create(t, bag.Options{Reserve: -1, SplitAt: 100})
	for size, want := range map[int]int{0: 1, 1: 1, 99: 1, 100: 1, 101: 2, 200: 2, 201: 3, 1000: 10} {
		e := b.add("log-current", bytes.Repeat([]byte("x"), size), nil)
		if len(e.Parts) != want || e.Size != int64(size) {
			t.Errorf("%d bytes: %d parts, size %d; want %d parts", size, len(e.Parts), e.Size, want)
		}
		if split := strings.Contains(e.Parts[0].Path, ".part0001"); split != (want > 1) {
			t.Errorf("%d bytes: first part is %s", size, e.Parts[0].Path)
		}
	}
}

func TestWhatCameIsKeptWhenTheReaderFails(t *testing.T) {
	broken := errors.New("stream broke")
	text := []byte("half of it")
	for _, compress := range []bool{false, true} {
		b := create(t, none(t))
		a := artifact("processes")
		a.Compress = compress
		e, err := b.w.Add(t.Context(), a, io.MultiReader(bytes.NewReader(text), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || e.Status != evidence.Truncated || !strings.Contains(e.Reason, "stream broke") {
			t.Errorf("entry %+v, %v", e, err)
		}
		if compress && (e.Encoding == nil || e.Encoding.SHA256 != sum(text)) || !compress && e.SHA256 != sum(text) {
			t.Errorf("compressed %v: entry %+v", compress, e)
		}
		if s := b.seal(newKey(t)); s.Entries != 1 {
			t.Errorf("sealed %+v", s)
		}
		if r, err := verify.Bundle(t.Context(), b.w.Dir(), verify.Options{Deep: true}); err != nil || r.Integrity != verify.OK || r.Statuses[evidence.Truncated] != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestSourceThatSaysOtherwiseMakesItTruncated(t *testing.T) {
	text := []byte("ten bytes.")
	whole := evidence.Trailer{Size: 10, SHA256: sum(text)}
	for name, c := range map[string]struct {
		trailer evidence.Trailer
		want    evidence.Status
	}{
		"agrees":          {whole, evidence.Collected},
		"does not know":   {evidence.Trailer{Size: -1}, evidence.Collected},
		"sent more":       {evidence.Trailer{Size: 11}, evidence.Truncated},
		"sent less":       {evidence.Trailer{Size: 9}, evidence.Truncated},
		"sent others":     {evidence.Trailer{Size: 10, SHA256: sum(nil)}, evidence.Truncated},
		"changed":         {evidence.Trailer{Size: 10, SHA256: sum(text), Changed: true}, evidence.Changed},
		"changed and cut": {evidence.Trailer{Size: 11, Changed: true}, evidence.Truncated},
	} {
		t.Run(name, func(t *testing.T) {
			c.trailer.Notes = []string{"a note"}
			e, err := create(t, none(t)).w.Add(t.Context(), artifact("processes"), sent{bytes.NewReader(text), c.trailer})
			if e.Status != c.want || (c.want == evidence.Truncated) != errors.Is(err, bag.ErrMismatch) || len(e.Notes) != 1 {
				t.Errorf("entry %+v, %v; want %s", e, err, c.want)
			}
			if e.SHA256 != sum(text) {
				t.Error("what came is not kept")
			}
		})
	}
}

func TestNothingOfTheTargetBecomesAName(t *testing.T) {
	b := create(t, none(t))
	for name, change := range map[string]func(*evidence.Artifact){
		"kind climbs":        func(a *evidence.Artifact) { a.Kind = "../x" },
		"kind empty":         func(a *evidence.Artifact) { a.Kind = "" },
		"kind long":          func(a *evidence.Artifact) { a.Kind = strings.Repeat("k", 300) },
		"kind in capitals":   func(a *evidence.Artifact) { a.Kind = "Proc" },
		"kind with a line":   func(a *evidence.Artifact) { a.Kind = "a\nb" },
		"ordinal climbs":     func(a *evidence.Artifact) { a.Ordinal = "../c0" },
		"ordinal unknown":    func(a *evidence.Artifact) { a.Ordinal = "x0" },
		"section climbs":     func(a *evidence.Artifact) { a.Section = "../.." },
		"section unknown":    func(a *evidence.Artifact) { a.Section = "07-new" },
		"extension climbs":   func(a *evidence.Artifact) { a.Ext = "/../../x" },
		"extension dots":     func(a *evidence.Artifact) { a.Ext = "a..b" },
		"extension empty":    func(a *evidence.Artifact) { a.Ext = "" },
		"absent with reader": func(a *evidence.Artifact) { a.Absent = &evidence.Absence{Status: evidence.LeftOut, Reason: "x"} },
	} {
		a := artifact("processes")
		change(&a)
		if e, err := b.w.Add(t.Context(), a, strings.NewReader("x")); err == nil || e.ID != "" {
			t.Errorf("%s: entry %+v, %v", name, e, err)
		}
	}
	for _, absence := range []evidence.Absence{{Status: evidence.Collected, Reason: "x"}, {Status: evidence.LeftOut}} {
		a := artifact("processes")
		a.Absent = &absence
		if _, err := b.w.Add(t.Context(), a, nil); err == nil {
			t.Errorf("absence %+v was taken", absence)
		}
	}
	if _, err := b.w.Add(t.Context(), artifact("processes"), nil); err == nil {
		t.Error("neither bytes nor a reason were taken")
	}
	if n := len(b.w.Entries()); n != 0 {
		t.Errorf("%d entries", n)
	}
	hostile := b.add("processes", nil, func(a *evidence.Artifact) {
		a.Container, a.Source.Detail = strings.Repeat("\u202e", 9000), strings.Repeat("x", 1<<20)
	})
	if len(hostile.Container) > 5000 || len(hostile.Source.Detail) > 5000 || hostile.OrigB64 == "" || strings.Contains(hostile.OrigName, "\x1b") {
		t.Errorf("entry of %d and %d bytes", len(hostile.Container), len(hostile.Source.Detail))
	}
}

func TestAbsentAndEmptyNeverLookAlike(t *testing.T) {
	b := create(t, none(t))
	empty := b.add("log-current", nil, nil)
	a := artifact("log-previous")
	a.Absent = &evidence.Absence{Status: evidence.LeftOut, Reason: "volume"}
	absent, err := b.w.Add(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(empty.Parts) != 1 || empty.Status != evidence.Collected || empty.SHA256 != sum(nil) {
		t.Errorf("empty: %+v", empty)
	}
	if absent.Parts == nil || len(absent.Parts) != 0 || absent.Status != evidence.LeftOut || !absent.SHA256.IsZero() || absent.Reason != "volume" {
		t.Errorf("absent: %+v", absent)
	}
}

func TestManyAddAtOnce(t *testing.T) {
	b := create(t, bag.Options{Reserve: -1, SplitAt: 5000})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			a := artifact(fmt.Sprintf("kind-%d", i))
			a.Compress = i%3 == 0
			if _, err := b.w.Add(t.Context(), a, bytes.NewReader(bytes.Repeat([]byte{byte(i)}, i*999))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, e := range b.w.Entries() {
		ids[e.ID] = true
	}
	if len(ids) != 24 {
		t.Errorf("%d ids for 24 entries", len(ids))
	}
	b.seal(newKey(t))
	if r, err := verify.Bundle(t.Context(), b.w.Dir(), verify.Options{Deep: true}); err != nil || r.Integrity != verify.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestCancelledAddKeepsWhatCame(t *testing.T) {
	b := create(t, none(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("first Ctrl-C")
	r := readerFunc(func(p []byte) (int, error) { cancel(stop); return copy(p, "abc"), nil })
	e, err := b.w.Add(ctx, artifact("processes"), r)
	if !errors.Is(err, stop) || e.Status != evidence.Truncated || e.SHA256 != sum([]byte("abc")) {
		t.Errorf("entry %+v, %v", e, err)
	}
}

func TestReaderWithoutProgressEnds(t *testing.T) {
	r := readerFunc(func([]byte) (int, error) { return 0, nil })
	e, err := create(t, none(t)).w.Add(t.Context(), artifact("processes"), r)
	if !errors.Is(err, io.ErrNoProgress) || e.Status != evidence.Truncated {
		t.Errorf("entry %+v, %v", e, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTagFilesAreReplacedUntilTheSeal(t *testing.T) {
	b := create(t, none(t))
	for _, name := range []string{"meta/../x", "../x", "/etc/x", "data/01-volatile/x", "meta", "bagit.txt", "meta/x\n", evidence.CustodyJSONL, evidence.EntriesJSONL, evidence.AllowedSigners, "meta/a/b/c/d", ".x/y", "meta/.x"} {
		if err := b.w.WriteTag(name, nil); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	for _, text := range []string{"one", "two"} {
		if err := b.w.WriteTag("meta/schema/evidence.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	b.seal(newKey(t))
	if got := mustRead(t, filepath.Join(b.w.Dir(), "meta/schema/evidence.json")); string(got) != "two" {
		t.Errorf("stored %q", got)
	}
	if err := b.w.WriteTag("meta/schema/evidence.json", nil); !errors.Is(err, bag.ErrSealed) {
		t.Errorf("after the seal: %v", err)
	}
}

func TestSealedBundleTakesNothing(t *testing.T) {
	b, key, _ := sealedBundle(t)
	if _, err := b.w.Add(t.Context(), artifact("processes"), strings.NewReader("")); !errors.Is(err, bag.ErrFrozen) {
		t.Errorf("Add: %v", err)
	}
	if _, err := b.w.Seal(t.Context(), key, info()); !errors.Is(err, bag.ErrSealed) {
		t.Errorf("Seal: %v", err)
	}
	if _, err := b.w.Freeze(t.Context()); !errors.Is(err, bag.ErrSealed) {
		t.Errorf("Freeze: %v", err)
	}
	if _, err := bag.Open(t.Context(), b.caseDir, bundleID, none(t)); !errors.Is(err, bag.ErrSealed) {
		t.Errorf("Open: %v", err)
	}
	if _, err := bag.Create(t.Context(), b.caseDir, bundleID, none(t)); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create: %v", err)
	}
	err := filepath.WalkDir(b.w.Dir(), func(p string, d os.DirEntry, err error) error {
		if info, _ := d.Info(); err == nil && !d.IsDir() && info.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSealWantsTheLogToEndWithSealed(t *testing.T) {
	b := create(t, none(t))
	b.fill()
	if _, err := b.w.Seal(t.Context(), newKey(t), info()); err == nil {
		t.Error("sealed without a record of it")
	}
	b.record(evidence.ActSealed)
	b.record(evidence.ActStep)
	if _, err := b.w.Seal(t.Context(), newKey(t), info()); err == nil {
		t.Error("sealed with a record after it")
	}
	b.record(evidence.ActSealed)
	if _, err := b.w.Seal(t.Context(), newKey(t), info()); err != nil {
		t.Error(err)
	}
}

func TestBundleWithoutPayloadIsSealedToo(t *testing.T) {
	shell := shells(t)[0]
	b := create(t, none(t))
	key := newKey(t)
	b.seal(key)
	r, err := verify.Bundle(t.Context(), b.w.Dir(), verify.Options{})
	if err != nil || r.Integrity != verify.OK {
		t.Errorf("%+v, %v", r, err)
	}
	if out, err := runRecipe(t, shell, b.w.Dir(), signersFile(t, key)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStrangersAreRefusedBeforeTheSeal(t *testing.T) {
	for name, plant := range map[string]func(dir string) error{
		"payload": func(d string) error { return os.WriteFile(filepath.Join(d, "data/notes.txt"), nil, 0o600) },
		"link":    func(d string) error { return os.Symlink("/etc/passwd", filepath.Join(d, "meta/passwd")) },
		"name":    func(d string) error { return os.WriteFile(filepath.Join(d, "meta/.swp\x1b"), nil, 0o600) },
		"double": func(d string) error {
			return os.WriteFile(filepath.Join(d, "data/01-volatile/0001-c0-other.jsonl"), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := create(t, none(t))
			b.fill()
			if err := plant(b.w.Dir()); err != nil {
				t.Fatal(err)
			}
			b.record(evidence.ActSealed)
			_, err := b.w.Seal(t.Context(), newKey(t), info())
			if err == nil || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("sealed, or unquoted: %v", err)
			}
			if _, err := os.Stat(filepath.Join(b.w.Dir(), evidence.SealSignature)); err == nil {
				t.Error("there is a signature")
			}
		})
	}
}

func TestDamagedPayloadIsFoundAndTold(t *testing.T) {
	b := create(t, bag.Options{Reserve: -1, SplitAt: 10_000})
	b.fill()
	hurt := filepath.Join(b.w.Dir(), payloadFile)
	gone := filepath.Join(b.w.Dir(), "data/02-logs/0004-c0-log-current.log.part0002")
	if err := errors.Join(os.WriteFile(hurt, []byte("{\"pid\":2}\n"), 0o600), os.Remove(gone)); err != nil {
		t.Fatal(err)
	}
	var changed *bag.ChangedError
	if _, err := b.w.Freeze(t.Context()); !errors.As(err, &changed) || len(changed.Parts) != 2 {
		t.Fatalf("Freeze: %v", err)
	}
	b.record(evidence.ActSealed)
	if _, err := b.w.Seal(t.Context(), newKey(t), info()); !errors.As(err, &changed) {
		t.Fatalf("Seal signed what changed: %v", err)
	}
	if err := b.w.Amend(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	b.seal(newKey(t))
	r, err := verify.Bundle(t.Context(), b.w.Dir(), verify.Options{Deep: true})
	if err != nil || r.Integrity != verify.OK || r.Statuses[evidence.Truncated] != 2 || r.Entries != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	if lines := string(mustRead(t, filepath.Join(b.w.Dir(), evidence.EntriesJSONL))); !strings.Contains(lines, sum([]byte("{\"pid\":1}\n")).Hex()) {
		t.Error("the digest that arrived is no longer told")
	}
}
