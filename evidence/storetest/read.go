package storetest

import (
	"errors"
	"slices"
	"testing"

	"irkit.dev/irkit/evidence"
)

func absent(t *testing.T, s evidence.Store) {
	put(t, s, "a/b", []byte("x"))
	for _, key := range []string{"k", "a", "a/b/c", "a/c"} {
		if rc, err := s.Open(t.Context(), key); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("Open(%s): %v, want ErrNotFound", key, err)
			if err == nil {
				_ = rc.Close()
			}
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("Stat(%s): %v, want ErrNotFound", key, err)
		}
	}
}

func lists(t *testing.T, s evidence.Store) {
	for _, key := range []string{"b", "a/z", "a/b/c", "a-b", "ab/c", "a/b.txt"} {
		put(t, s, key, []byte(key))
	}
	for prefix, want := range map[string][]string{
		"":    {"a-b", "a/b.txt", "a/b/c", "a/z", "ab/c", "b"},
		"a":   {"a/b.txt", "a/b/c", "a/z"},
		"a/b": {"a/b/c"},
		"c":   nil,
	} {
		if got := list(t.Context(), t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	err := s.List(t.Context(), "a/b", func(r evidence.Receipt) error {
		if r.Size != 5 || r.Stored.IsZero() {
			t.Errorf("List gives %+v, want size 5 and a time", r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func listEnds(t *testing.T, s evidence.Store) {
	for _, key := range []string{"a", "b", "c"} {
		put(t, s, key, []byte(key))
	}
	enough, n := errors.New("enough"), 0
	if err := s.List(t.Context(), "", func(evidence.Receipt) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("List went on for %d calls and ended with %v; want 1 and the function's error", n, err)
	}
}

func namesItself(t *testing.T, s evidence.Store) {
	if s.String() == "" {
		t.Error("String is empty")
	}
}
