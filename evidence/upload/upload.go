// Package upload brings a sealed bundle to a store, and says what is there.
//
// The digests come from the bundle's own manifests: what goes up is what was sealed, or
// nothing. The seal goes last, when everything else was seen in the store, so that a
// part of a bundle is never taken for a whole one. Run again, it goes on where it ended.
package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"irkit.dev/irkit/evidence"
)

// ErrUnsealed says that a bundle has no seal yet; it is not for a store.
var ErrUnsealed = errors.New("bundle is not sealed")

// parallel is how many files are on their way at once: most of a small file is waiting.
const parallel = 4

// Bundle puts every file of the sealed bundle in bundleDir under prefix/id, verifies by
// Stat, then puts the seal, then the custody records that came after the seal,
// and writes <id>.receipt.json beside the bundle. What is there with the same bytes
// stays; other bytes are evidence.ErrExists. Nothing in the bundle is changed.
//
// progress, unless nil, is told how many bytes of all are in the store; calls do not overlap.
func Bundle(ctx context.Context, store evidence.Store, prefix, bundleDir, id string, progress func(done, total int64)) (Handed, error) {
	h, err := bundle(ctx, store, prefix, bundleDir, id, progress)
	if err != nil {
		return Handed{}, fmt.Errorf("upload %s to %s: %w", id, store, err)
	}
	return h, nil
}

func bundle(ctx context.Context, store evidence.Store, prefix, bundleDir, id string, progress func(done, total int64)) (Handed, error) {
	root, err := os.OpenRoot(bundleDir)
	if err != nil {
		return Handed{}, err
	}
	defer root.Close()
	files, err := sealed(ctx, root)
	if err != nil {
		return Handed{}, err
	}
	c := &carrier{store: store, root: root, prefix: evidence.StoreKey(prefix, id, ""), progress: progress}
	for _, f := range files {
		c.total += f.size
	}
	first, last := split(files)
	h := Handed{Store: store.String(), Prefix: prefix}
	if h.Files, err = c.carry(ctx, first); err != nil {
		return Handed{}, err
	}
	if err := c.verify(ctx, h.Files); err != nil {
		return Handed{}, err
	}
	for _, f := range last { // one after the other: the signature is the very last
		r, err := c.put(ctx, f)
		if err != nil {
			return Handed{}, err
		}
		h.Files = append(h.Files, r)
	}
	if h.Custody, err = Custody(ctx, store, prefix, bundleDir, id); err != nil {
		return Handed{}, err
	}
	h.Uploaded = time.Now().UTC().Truncate(time.Second)
	return h, writeReceipt(bundleDir, id, last[0].digest, h)
}

// carrier puts files of one bundle into one store.
type carrier struct {
	store    evidence.Store
	root     *os.Root
	prefix   string
	progress func(done, total int64)

	mu          sync.Mutex
	done, total int64
}

func (c *carrier) carry(ctx context.Context, files []file) ([]evidence.Receipt, error) {
	receipts := make([]evidence.Receipt, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, f := range files {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			receipts[i], err = c.put(ctx, f)
			return err
		})
	}
	err := g.Wait()
	return receipts, err
}

func (c *carrier) put(ctx context.Context, f file) (evidence.Receipt, error) {
	r, err := c.store.Put(ctx, evidence.StoreKey("", c.prefix, f.path), evidence.File{Size: f.size, SHA256: f.digest, Open: func() (io.ReadCloser, error) {
		return c.root.Open(f.path)
	}})
	if err != nil {
		return evidence.Receipt{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += f.size
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
	return r, nil
}

// verify asks the store again for everything that it took.
func (c *carrier) verify(ctx context.Context, took []evidence.Receipt) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, want := range took {
		g.Go(func() error {
			got, err := c.store.Stat(ctx, want.Key)
			if err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			if got.Size != want.Size || got.SHA256 != want.SHA256 || got.VersionID != want.VersionID {
				return fmt.Errorf("verify %s: store took %s version %q, and now tells %s version %q", want.Key, want.SHA256, want.VersionID, got.SHA256, got.VersionID)
			}
			return nil
		})
	}
	return g.Wait()
}
