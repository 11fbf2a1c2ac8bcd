package objectstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"irkit.dev/irkit/evidence"
)

// proven gives out a source's bytes, but its last ones only when the whole has the size
// and digest that were announced. So a request whose source is wrong never becomes
// whole, whether the server compares digests or not.
//
// The transport may still read it when a server has answered early, until fault is called.
type proven struct {
	mu   sync.Mutex
	src  io.Reader
	want evidence.Digest
	size int64
	left int64
	hash hash.Hash
	err  error // the source's, never the network's
}

func prove(src io.Reader, f evidence.File) *proven {
	return &proven{src: src, want: f.SHA256, size: f.Size, left: f.Size, hash: sha256.New()}
}

// fault ends all reading, and is the source's error, if it had one.
func (p *proven) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.err
	if p.err == nil {
		p.err = errOver
	}
	return err
}

var errOver = errors.New("request is over")

func (p *proven) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
		return 0, p.err
	case p.left == 0:
		return 0, io.EOF
	case int64(len(b)) > p.left:
		b = b[:p.left]
	}
	n, err := p.src.Read(b)
	p.hash.Write(b[:n])
	p.left -= int64(n)
	switch {
	case p.left == 0:
		err = p.finish()
	case errors.Is(err, io.EOF):
		p.err = fmt.Errorf("source ends %d bytes short of %d: %w", p.left, p.size, io.ErrUnexpectedEOF)
		err = p.err
	case err != nil:
		p.err = fmt.Errorf("read source: %w", err)
		err = p.err
	}
	if p.err != nil {
		n = 0
	}
	return n, err
}

// finish compares what was read with what was announced. Under mu, or before any Read.
func (p *proven) finish() error {
	one := make([]byte, 1)
	switch n, err := io.ReadFull(p.src, one); {
	case n > 0:
		p.err = fmt.Errorf("source is longer than the %d bytes that were announced", p.size)
	case !errors.Is(err, io.EOF):
		p.err = fmt.Errorf("read source: %w", err)
	case evidence.Digest(p.hash.Sum(nil)) != p.want:
		p.err = fmt.Errorf("source has digest %s, announced was %s", evidence.Digest(p.hash.Sum(nil)), p.want)
	}
	return p.err
}
