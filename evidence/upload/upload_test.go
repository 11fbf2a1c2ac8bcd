package upload_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/dirstore"
	"irkit.dev/irkit/evidence/storetest"
	"irkit.dev/irkit/evidence/upload"
)

const id = "irkit-case-01k"

// bundle makes a folder that looks sealed, with its chain going on beside it.
func bundle(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), id)
	write := func(name string, b []byte) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x  %s\n", sha256.Sum256(b), name)
	}
	payload := write("data/01-volatile/0001-c0-processes.jsonl", []byte("{}\n")) + write("data/02-logs/0002-c0-log.log", nil) +
		write("data/04-filesystem/0003-c0-root.tar", storetest.Bytes(2<<20, 1))
	tags := write(evidence.BagItTxt, []byte("BagIt-Version: 1.0\n")) + write(evidence.CustodyJSONL, []byte("{}\n")) + write(evidence.ManifestSHA256, []byte(payload))
	write(evidence.TagManifestSHA256, []byte(tags))
	write(evidence.SealSignature, []byte("signature"))
	write("../"+evidence.CustodyDir(id)+"/"+evidence.CustodyName(9, evidence.Digest{1}), []byte("{}\n"))
	return dir
}

func folder(t *testing.T) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// watched tells the order of Puts, and breaks after some of them.
type watched struct {
	evidence.Store
	mu     sync.Mutex
	put    []string
	breaks int                                     // after so many; 0: never
	lies   func(evidence.Receipt) evidence.Receipt // of Stat
}

var errGone = errors.New("store is gone")

func (w *watched) Put(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.breaks > 0 && len(w.put) >= w.breaks {
		return evidence.Receipt{}, errGone
	}
	r, err := w.Store.Put(ctx, key, f)
	if err == nil {
		w.put = append(w.put, key)
	}
	return r, err
}

func (w *watched) Stat(ctx context.Context, key string) (evidence.Receipt, error) {
	r, err := w.Store.Stat(ctx, key)
	if w.lies != nil {
		r = w.lies(r)
	}
	return r, err
}

func TestBundle(t *testing.T) {
	dir, w := bundle(t), &watched{Store: folder(t)}
	var last, total int64
	h, err := upload.Bundle(t.Context(), w, "team/a", dir, id, func(d, all int64) {
		if d < last {
			t.Errorf("progress goes back from %d to %d", last, d)
		}
		last, total = d, all
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != total || total == 0 {
		t.Errorf("progress ends at %d of %d", last, total)
	}
	seal := []string{"team/a/" + id + "/tagmanifest-sha256.txt", "team/a/" + id + "/tagmanifest-sha256.txt.sig"}
	after := "team/a/" + evidence.CustodyDir(id) + "/" + evidence.CustodyName(9, evidence.Digest{1})
	if n := len(w.put); n != 9 || !slices.Equal(w.put[n-3:], append(seal, after)) {
		t.Errorf("put in this order: %q; want the seal and then the later records at the end", w.put)
	}
	r, err := upload.ReadReceipts(dir, id)
	if err != nil || len(r.Stores) != 1 || len(r.Stores[0].Files) != 8 || len(r.Stores[0].Custody) != 1 || r.Seal.IsZero() {
		t.Errorf("receipt %+v, %v", r, err)
	}
	if len(h.Files) != 8 || h.Store != w.String() {
		t.Errorf("handed %+v", h)
	}
	if st, err := os.Stat(filepath.Join(filepath.Dir(dir), evidence.ReceiptName(id))); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("receipt file: %v, %v", st, err)
	}
	// Again, and to a second store: nothing new in the first, both in the receipt.
	again, err := upload.Bundle(t.Context(), w, "team/a", dir, id, nil)
	if err != nil || slices.ContainsFunc(again.Files, func(r evidence.Receipt) bool { return !r.Already }) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := upload.Bundle(t.Context(), folder(t), "", dir, id, nil); err != nil {
		t.Error(err)
	}
	if r, err := upload.ReadReceipts(dir, id); err != nil || len(r.Stores) != 2 {
		t.Errorf("receipt names %d stores (%v), want 2", len(r.Stores), err)
	}
}

// Wherever the store goes away, there is no seal in it, no receipt here, and the next run ends well.
func TestBreaksAndGoesOn(t *testing.T) {
	for n := range 8 {
		dir, w := bundle(t), &watched{Store: folder(t), breaks: n}
		if n == 0 {
			w.breaks = -1
			w.Store = refusing{w.Store}
		}
		_, err := upload.Bundle(t.Context(), w, "", dir, id, nil)
		if !errors.Is(err, errGone) {
			t.Fatalf("store that breaks after %d: %v, want its error", n, err)
		}
		if _, err := w.Store.Stat(t.Context(), id+"/"+evidence.SealSignature); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("store that broke after %d files has the signature (%v)", n, err)
		}
		if r, err := upload.ReadReceipts(dir, id); err != nil || len(r.Stores) != 0 {
			t.Errorf("receipt of an upload that broke: %+v, %v", r, err)
		}
		w.breaks = 0
		if _, err := upload.Bundle(t.Context(), w, "", dir, id, nil); n > 0 && err != nil {
			t.Errorf("again after %d: %v", n, err)
		}
	}
}

type refusing struct{ evidence.Store }

func (refusing) Put(context.Context, string, evidence.File) (evidence.Receipt, error) {
	return evidence.Receipt{}, errGone
}

// What was not sealed, or is no longer what was sealed, does not become a whole bundle elsewhere.
func TestDamaged(t *testing.T) {
	at := func(dir, name string) string { return filepath.Join(dir, name) }
	for name, harm := range map[string]func(dir string) error{
		"payload byte": func(d string) error { return os.WriteFile(at(d, "data/02-logs/0002-c0-log.log"), []byte("x"), 0o600) },
		"same size": func(d string) error {
			return os.WriteFile(at(d, "data/01-volatile/0001-c0-processes.jsonl"), []byte("[]\n"), 0o600)
		},
		"tag file":     func(d string) error { return os.WriteFile(at(d, evidence.CustodyJSONL), []byte("[]\n"), 0o600) },
		"extra file":   func(d string) error { return os.WriteFile(at(d, "data/extra"), nil, 0o600) },
		"missing file": func(d string) error { return os.Remove(at(d, evidence.BagItTxt)) },
		"link": func(d string) error {
			return errors.Join(os.Remove(at(d, evidence.BagItTxt)), os.Symlink("/etc/hostname", at(d, evidence.BagItTxt)))
		},
		"no signature": func(d string) error { return os.Remove(at(d, evidence.SealSignature)) },
		"path out of the bundle": func(d string) error {
			return os.WriteFile(at(d, evidence.TagManifestSHA256), []byte(strings.Repeat("0", 64)+"  ../../etc/passwd\n"), 0o600)
		},
		"no path": func(d string) error { return os.WriteFile(at(d, evidence.ManifestSHA256), []byte("abc\n"), 0o600) },
	} {
		dir, s := bundle(t), folder(t)
		if err := harm(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := upload.Bundle(t.Context(), s, "", dir, id, nil); err == nil {
			t.Errorf("%s: upload passes", name)
		}
		if _, err := s.Stat(t.Context(), id+"/"+evidence.TagManifestSHA256); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%s: store has a seal (%v)", name, err)
		}
	}
}

// A store that tells something else than it took gets no seal.
func TestStoreLies(t *testing.T) {
	for name, lie := range map[string]func(evidence.Receipt) evidence.Receipt{
		"digest":  func(r evidence.Receipt) evidence.Receipt { r.SHA256[0] ^= 1; return r },
		"version": func(r evidence.Receipt) evidence.Receipt { r.VersionID = "other"; return r },
	} {
		s := folder(t)
		if _, err := upload.Bundle(t.Context(), &watched{Store: s, lies: lie}, "", bundle(t), id, nil); err == nil {
			t.Errorf("%s: upload passes", name)
		}
		if _, err := s.Stat(t.Context(), id+"/"+evidence.TagManifestSHA256); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%s: store has a seal (%v)", name, err)
		}
	}
}

func TestForeignBytes(t *testing.T) {
	s := folder(t)
	if _, err := s.Put(t.Context(), id+"/"+evidence.BagItTxt, storetest.File([]byte("other"))); err != nil {
		t.Fatal(err)
	}
	if _, err := upload.Bundle(t.Context(), s, "", bundle(t), id, nil); !errors.Is(err, evidence.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
}

func TestCustodyLater(t *testing.T) {
	dir, s := bundle(t), folder(t)
	if _, err := upload.Bundle(t.Context(), s, "p", dir, id, nil); err != nil {
		t.Fatal(err)
	}
	name := evidence.CustodyName(10, evidence.Digest{2})
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), evidence.CustodyDir(id), name), []byte("{\"seq\":10}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rs, err := upload.Custody(t.Context(), s, "p", dir, id)
	if err != nil || len(rs) != 2 || !rs[0].Already || rs[1].Already || rs[1].Key != "p/"+evidence.CustodyDir(id)+"/"+name {
		t.Errorf("%+v, %v", rs, err)
	}
	keys := map[string]bool{}
	err = s.List(t.Context(), "p", func(r evidence.Receipt) error { keys[r.Key] = true; return nil })
	if err != nil || len(keys) != 10 {
		t.Errorf("store holds %q, %v", slices.Sorted(maps.Keys(keys)), err)
	}
}
