package dirstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/dirstore"
	"irkit.dev/irkit/evidence/storetest"
)

func open(t *testing.T, dir string) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evidence.Store { return open(t, filepath.Join(t.TempDir(), "new", "store")) })
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "a/b/c.txt", storetest.File([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && st.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", p, st.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What somebody else planted in the folder neither leads out of it nor hangs.
func TestPlanted(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir)
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"out": outside, "file": filepath.Join(outside, "f"), "up": "..", "hop": "up/" + filepath.Base(outside)} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"out/f", "file", "up/x", "hop/f", "pipe"} {
		if _, err := s.Put(t.Context(), key, storetest.File([]byte("x"))); err == nil {
			t.Errorf("Put(%s) passes", key)
		}
		if f, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("Open(%s) passes", key)
			_ = f.Close()
		}
		if _, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat(%s) passes", key)
		}
	}
	if err := s.List(t.Context(), "", func(r evidence.Receipt) error { return errors.New(r.Key) }); err != nil {
		t.Errorf("List shows what is not a file: %v", err)
	}
	if es, err := os.ReadDir(outside); err != nil || len(es) != 1 {
		t.Errorf("outside holds %v (%v), want one file", es, err)
	}
}

// What a crash left half written is no key, and not in the way.
func TestLeftover(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".incoming"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".incoming", "half"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if err := s.List(t.Context(), "", func(r evidence.Receipt) error { return errors.New(r.Key) }); err != nil {
		t.Errorf("List shows a leftover: %v", err)
	}
	if _, err := s.Put(t.Context(), ".incoming/half", storetest.File([]byte("x"))); !errors.Is(err, evidence.ErrKey) {
		t.Errorf("Put to a reserved name: %v, want ErrKey", err)
	}
}
