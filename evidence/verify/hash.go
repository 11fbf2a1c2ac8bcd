package verify

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// expected is one digest that a list gives a file.
type expected struct{ list, alg, sum string }

// compare computes each listed file's digests, once per file.
func (b *bag) compare(ctx context.Context, f *findings) error {
	want := map[string][]expected{}
	for _, m := range b.lists {
		for p, sum := range m.sums {
			if _, ok := b.files[p]; ok && digestSize(m.alg) > 0 {
				want[p] = append(want[p], expected{m.name, m.alg, sum})
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for p, sums := range want {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			got, err := b.digest(ctx, p, sums)
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if err != nil {
				f.add("unreadable", p, "%v", err)
				return nil
			}
			for _, e := range sums {
				if got[e.alg] != e.sum {
					f.add("changed", p, "its digest is not that of %s", e.list)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (b *bag) digest(ctx context.Context, p string, sums []expected) (map[string]string, error) {
	file, err := b.open(p, false)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	hashes := map[string]hash.Hash{}
	var all []io.Writer
	for _, e := range sums {
		if hashes[e.alg] == nil {
			hashes[e.alg] = newHash(e.alg)
			all = append(all, hashes[e.alg])
		}
	}
	n, err := io.CopyBuffer(io.MultiWriter(slices.Clip(all)...), whileAlive{ctx, file}, make([]byte, 256<<10))
	if err != nil {
		return nil, err
	}
	if n != b.files[p] {
		return nil, fmt.Errorf("changed while it was read: %d bytes, then %d", b.files[p], n)
	}
	got := map[string]string{}
	for alg, h := range hashes {
		got[alg] = hex.EncodeToString(h.Sum(nil))
	}
	return got, nil
}

func newHash(alg string) hash.Hash {
	if alg == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// whileAlive ends reading when ctx does.
type whileAlive struct {
	ctx context.Context
	r   io.Reader
}

func (w whileAlive) Read(b []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.r.Read(b)
}
