package bag

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"runtime"

	"golang.org/x/sync/errgroup"

	"irkit.dev/irkit/evidence"
)

// rehash reads stored files back; nil stands for one that is gone.
func (w *Writer) rehash(ctx context.Context, want []evidence.Part) ([]*evidence.Part, error) {
	got := make([]*evidence.Part, len(want))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range want {
		g.Go(func() error {
			part, err := w.hashFile(ctx, p.Path, io.Discard)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			got[i] = &part
			return err
		})
	}
	return got, g.Wait()
}

// hashFile reads one file of the bundle once, for both digests, and copies it to also.
func (w *Writer) hashFile(ctx context.Context, name string, also io.Writer) (evidence.Part, error) {
	part := evidence.Part{Path: name}
	f, err := w.root.Open(name)
	if err != nil {
		return part, err
	}
	defer f.Close()
	h256, h512 := sha256.New(), sha512.New()
	part.Size, err = io.CopyBuffer(io.MultiWriter(h256, h512, also), withContext{ctx, f}, make([]byte, 256<<10))
	if err != nil {
		return part, err
	}
	h256.Sum(part.SHA256[:0])
	part.SHA512 = hex.EncodeToString(h512.Sum(nil))
	return part, nil
}

// hashParts reads the files of one entry in order.
func (w *Writer) hashParts(ctx context.Context, paths []string) (parts []evidence.Part, sum evidence.Digest, size int64, err error) {
	whole := sha256.New()
	parts = []evidence.Part{}
	for _, p := range paths {
		part, err := w.hashFile(ctx, p, whole)
		if err != nil {
			return nil, sum, 0, err
		}
		parts, size = append(parts, part), size+part.Size
	}
	whole.Sum(sum[:0])
	return parts, sum, size, nil
}

// withContext ends reading when ctx does.
type withContext struct {
	ctx context.Context
	r   io.Reader
}

func (c withContext) Read(b []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
