package images

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/collectors/drift"
)

// ErrDigest says that bytes are not those of their digest.
var ErrDigest = errors.New("bytes are not those of the digest")

// layerOf is a layer whose stored bytes have that digest; with inside, the digest is that of the
// uncompressed tar.
func layerOf(digest string, inside bool, open func(context.Context) (io.ReadCloser, error)) drift.Layer {
	return drift.Layer{Name: digest, Open: func(ctx context.Context) (io.ReadCloser, error) {
		raw, err := open(ctx)
		if err != nil {
			return nil, err
		}
		l := &layer{raw: raw, sum: sha256.New(), want: digest}
		var stored io.Reader = raw
		if !inside {
			stored = io.TeeReader(raw, l.sum)
		}
		l.stored = bufio.NewReaderSize(stored, 64<<10)
		if l.tar, l.free, err = unpack(l.stored); err != nil {
			return nil, errors.Join(fmt.Errorf("unpack layer %s: %w", digest, err), raw.Close())
		}
		if inside {
			l.tar = io.TeeReader(l.tar, l.sum)
		}
		return l, nil
	}}
}

// layer reads a tar, and at its end compares the digest.
type layer struct {
	raw    io.Closer
	stored *bufio.Reader
	tar    io.Reader
	free   func()
	sum    hash.Hash
	want   string
}

func (l *layer) Read(p []byte) (int, error) {
	n, err := l.tar.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if _, err := io.Copy(io.Discard, l.stored); err != nil { // behind the compressed stream
		return n, err
	}
	if got := "sha256:" + hex.EncodeToString(l.sum.Sum(nil)); got != l.want {
		return n, fmt.Errorf("%w: got %s, want %s", ErrDigest, got, l.want)
	}
	return n, io.EOF
}

func (l *layer) Close() error {
	l.free()
	return l.raw.Close()
}

// unpack undoes the compression that the first bytes tell of; what media types say is not
// believed.
func unpack(r *bufio.Reader) (io.Reader, func(), error) {
	magic, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(64<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}
