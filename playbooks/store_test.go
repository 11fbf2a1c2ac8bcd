package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/dirstore"
	"irkit.dev/irkit/evidence/upload"
)

func storeIn(t *testing.T, dir string) evidence.Store {
	t.Helper()
	s, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func receipts(t *testing.T, file string) upload.Receipts {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r upload.Receipts
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASessionStoresWhatItSealed(t *testing.T) {
	r, place := newResponder(t), t.TempDir()
	o := order(takes("one", "processes"))
	o.OpenStore = func(context.Context) (evidence.Store, error) { return storeIn(t, place), nil }
	got := r.run(t.Context(), t, o)
	if got.StoreError != "" || got.Receipt == "" {
		t.Fatalf("%+v", got)
	}
	told := receipts(t, got.Receipt)
	if len(told.Stores) != 1 || told.Seal != got.Seal || told.Bundle != filepath.Base(got.Bundle) {
		t.Errorf("%+v", told)
	}
	// The store's copy verifies by itself, with the record of its own upload beside it.
	if v := r.sound(t, filepath.Join(place, told.Bundle)); v.Later != 1 || v.Seal != got.Seal {
		t.Errorf("%+v", v)
	}
}

func TestAStoreOutOfReachCostsNoEvidence(t *testing.T) {
	r := newResponder(t)
	o := order(takes("one", "processes"))
	o.OpenStore = func(context.Context) (evidence.Store, error) { return nil, errors.New("no route to bucket") }
	got := r.run(t.Context(), t, o)
	if !strings.Contains(got.StoreError, "no route") || got.Receipt != "" || got.Seal.IsZero() {
		t.Fatalf("%+v", got)
	}
	// A store that breaks in the middle is told in custody; trying again ends well.
	place := t.TempDir()
	store := &refusing{Store: storeIn(t, place)}
	store.after.Store(3)
	if _, err := r.Upload(t.Context(), got.Bundle, store); err == nil {
		t.Fatal("an upload that broke is no error")
	}
	for range 2 {
		file, err := r.Upload(t.Context(), got.Bundle, storeIn(t, place))
		if err != nil || len(receipts(t, file).Stores) != 1 {
			t.Fatalf("%s, %v", file, err)
		}
	}
	var results []string
	for _, x := range r.records(t, "c-1") {
		if x.Action == evidence.ActUploaded {
			results = append(results, x.Result)
		}
	}
	if strings.Join(results, " ") != "failed ok ok" {
		t.Errorf("custody has %q", results)
	}
	r.sound(t, got.Bundle)
	r.sound(t, filepath.Join(place, filepath.Base(got.Bundle)))
}

type refusing struct {
	evidence.Store
	after atomic.Int32
}

func (s *refusing) Put(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	if s.after.Add(-1) < 0 {
		return evidence.Receipt{}, errors.New("connection reset")
	}
	return s.Store.Put(ctx, key, f)
}

// A copy of a bundle in any folder can be uploaded, and that folder stays as open as it was.
func TestACopyInAnyFolderCanBeUploaded(t *testing.T) {
	r := newResponder(t)
	got := r.run(t.Context(), t, order(takes("one", "processes")))
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.MkdirAll(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(shared, filepath.Base(got.Bundle))
	if err := copyHome(got.Bundle, at); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Upload(t.Context(), at, storeIn(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(shared); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the folder is now %v (%v)", info.Mode(), err)
	}
	if v := r.sound(t, at); v.Later != 1 || v.Case != "c-1" {
		t.Errorf("%+v", v)
	}
}

func TestWhatIsNotSealedIsNotUploaded(t *testing.T) {
	r := newResponder(t)
	var inside error
	o := order(deed{id: "meanwhile", do: func(ctx context.Context, s *Site, _ evidence.Sink) error {
		h, err := r.Cases.History("c-1")
		if err != nil {
			return err
		}
		_, inside = r.Upload(ctx, filepath.Join(h.Dir, h.Bags[0].ID), storeIn(t, t.TempDir()))
		return nil
	}})
	r.run(t.Context(), t, o)
	if inside == nil {
		t.Error("an open bundle was uploaded")
	}
	if _, err := r.Upload(t.Context(), t.TempDir(), storeIn(t, t.TempDir())); err == nil {
		t.Error("a folder that is no bundle was uploaded")
	}
	var held *custody.HeldError
	if errors.As(inside, &held) {
		t.Error("that it is open is not told as what it is: without a seal")
	}
}
