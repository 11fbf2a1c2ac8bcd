package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"irkit.dev/irkit/evidence"
)

func keeps(t *testing.T, s evidence.Store) {
	for i, n := range []int{0, 1, 4096, 1<<20 + 1, Large} {
		key := fmt.Sprintf("irkit-a/data/01-volatile/%04d-c0-x.bin", i)
		b := Bytes(n, uint64(i))
		if r := put(t, s, key, b); r.Already {
			t.Errorf("first Put of %s says that it was there", key)
		}
		holds(t, s, key, b)
	}
}

func again(t *testing.T, s evidence.Store) {
	for _, n := range []int{0, 100, Large} {
		key, b := fmt.Sprintf("k%d", n), Bytes(n, 1)
		first := put(t, s, key, b)
		second := put(t, s, key, b)
		if !second.Already {
			t.Errorf("second Put of the same %d bytes does not say so", n)
		}
		if first.VersionID != second.VersionID {
			t.Errorf("second Put of the same %d bytes made version %s beside %s", n, second.VersionID, first.VersionID)
		}
		holds(t, s, key, b)
	}
}

func neverReplaces(t *testing.T, s evidence.Store) {
	for _, n := range []int{0, 100, Large} {
		key, b := fmt.Sprintf("k%d", n), Bytes(n, 1)
		before := put(t, s, key, b)
		others := map[string][]byte{"longer": append(bytes.Clone(b), 'x')}
		if n > 0 {
			others["as long"], others["empty"] = Bytes(n, 2), nil
		}
		for name, o := range others {
			if _, err := s.Put(t.Context(), key, File(o)); !errors.Is(err, evidence.ErrExists) {
				t.Fatalf("Put of other bytes (%s) over %d: %v, want ErrExists", name, n, err)
			}
			holds(t, s, key, b)
			if r, err := s.Stat(t.Context(), key); err != nil || r.VersionID != before.VersionID {
				t.Fatalf("version %s became %s (%v)", before.VersionID, r.VersionID, err)
			}
		}
	}
}

func wrongDigest(t *testing.T, s evidence.Store) {
	for _, n := range []int{0, 100, Large} {
		f := File(Bytes(n, 1))
		f.SHA256[0] ^= 1
		refused(t, s, f, fmt.Sprintf("%d bytes with a wrong digest", n))
	}
}

func wrongSize(t *testing.T, s evidence.Store) {
	for _, d := range []int64{-1, 1} {
		f := File(Bytes(100, 1))
		f.Size += d
		refused(t, s, f, fmt.Sprintf("size wrong by %d", d))
	}
}

func refused(t *testing.T, s evidence.Store, f evidence.File, what string) {
	t.Helper()
	_, err := s.Put(t.Context(), "k", f)
	if err == nil {
		t.Fatalf("Put with %s passes", what)
	}
	if errors.Is(err, evidence.ErrExists) || errors.Is(err, evidence.ErrNotFound) {
		t.Fatalf("Put with %s: %v, want another error", what, err)
	}
	holdsNothing(t, s)
}

var errSource = errors.New("source broke")

type breaking struct{ r io.Reader }

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = errSource
	}
	return n, err
}

func failingSource(t *testing.T, s evidence.Store) {
	b := Bytes(1<<20, 1)
	for _, after := range []int{0, 100, len(b) - 1} {
		f := File(b)
		f.Open = func() (io.ReadCloser, error) { return io.NopCloser(breaking{bytes.NewReader(b[:after])}), nil }
		if _, err := s.Put(t.Context(), "k", f); !errors.Is(err, errSource) {
			t.Fatalf("Put whose source breaks after %d bytes: %v, want the source's error", after, err)
		}
		holdsNothing(t, s)
	}
	f := File(b)
	f.Open = func() (io.ReadCloser, error) { return nil, errSource }
	if _, err := s.Put(t.Context(), "k", f); !errors.Is(err, errSource) {
		t.Fatalf("Put whose source does not open: %v, want the source's error", err)
	}
	holdsNothing(t, s)
	put(t, s, "k", b) // what failed is not in the way
}

func cancelled(t *testing.T, s evidence.Store) {
	put(t, s, "there", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	b := Bytes(Large, 1)
	f := File(b)
	f.Open = func() (io.ReadCloser, error) { // ends in the middle
		return io.NopCloser(io.MultiReader(bytes.NewReader(b[:1<<20]), cancelling{cancel}, bytes.NewReader(b[1<<20:]))), nil
	}
	if _, err := s.Put(ctx, "k", f); !errors.Is(err, context.Canceled) {
		t.Errorf("Put cancelled in the middle: %v, want context.Canceled", err)
	}
	if _, err := s.Put(ctx, "k", File(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put after cancel: %v, want context.Canceled", err)
	}
	if _, err := s.Stat(ctx, "there"); !errors.Is(err, context.Canceled) {
		t.Errorf("Stat after cancel: %v, want context.Canceled", err)
	}
	if _, err := s.Open(ctx, "there"); !errors.Is(err, context.Canceled) {
		t.Errorf("Open after cancel: %v, want context.Canceled", err)
	}
	if err := s.List(ctx, "", func(evidence.Receipt) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("List after cancel: %v, want context.Canceled", err)
	}
	if keys := list(t.Context(), t, s, ""); len(keys) != 1 {
		t.Errorf("store holds %q, want what was there before", keys)
	}
}

type cancelling struct{ cancel func() }

func (c cancelling) Read([]byte) (int, error) { c.cancel(); return 0, io.EOF }

func race(t *testing.T, s evidence.Store, bodies [][]byte) (won, already, exists int) {
	t.Helper()
	var wg sync.WaitGroup
	rs, errs := make([]evidence.Receipt, len(bodies)), make([]error, len(bodies))
	start := make(chan struct{})
	for i, b := range bodies {
		wg.Go(func() {
			<-start
			rs[i], errs[i] = s.Put(t.Context(), "deep/k", File(b))
		})
	}
	close(start)
	wg.Wait()
	for i := range bodies {
		switch {
		case errors.Is(errs[i], evidence.ErrExists):
			exists++
		case errs[i] != nil:
			t.Fatalf("concurrent Put: %v", errs[i])
		case rs[i].Already:
			already++
		default:
			won++
			holds(t, s, "deep/k", bodies[i])
		}
	}
	return won, already, exists
}

func oneWinner(t *testing.T, s evidence.Store) {
	var bodies [][]byte
	for i := range 8 {
		bodies = append(bodies, Bytes(256<<10, uint64(i)))
	}
	if won, already, exists := race(t, s, bodies); won != 1 || already != 0 || exists != 7 {
		t.Fatalf("of 8 writers with other bytes %d won, %d found theirs, %d were refused; want 1, 0, 7", won, already, exists)
	}
}

func allSame(t *testing.T, s evidence.Store) {
	b := Bytes(256<<10, 1)
	if won, already, exists := race(t, s, [][]byte{b, b, b, b}); won != 1 || already != 3 || exists != 0 {
		t.Fatalf("of 4 writers with the same bytes %d won, %d found theirs, %d were refused; want 1, 3, 0", won, already, exists)
	}
}

func hostileKeys(t *testing.T, s evidence.Store) {
	for _, key := range []string{"", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a/./b", "a//b", "a/",
		`a\b`, `..\x`, "a\x00b", "a\nb", "\x1b[2J", "caf\xc3\xa9", "\xff", strings.Repeat("a", 256), strings.Repeat("a/", 600) + "a"} {
		if _, err := s.Put(t.Context(), key, File([]byte("x"))); !errors.Is(err, evidence.ErrKey) {
			t.Errorf("Put(%q): %v, want ErrKey", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, evidence.ErrKey) {
			t.Errorf("Stat(%q): %v, want ErrKey", key, err)
		}
		if rc, err := s.Open(t.Context(), key); !errors.Is(err, evidence.ErrKey) {
			t.Errorf("Open(%q): %v, want ErrKey", key, err)
			if err == nil {
				_ = rc.Close()
			}
		}
	}
	holdsNothing(t, s)
}
