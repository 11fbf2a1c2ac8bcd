//go:build linux

package inside

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/evidence"
)

// identity is a file whatever its name.
type identity struct {
	Dev, Ino uint64
}

func identify(path string) (identity, error) {
	m, err := metaPath(path)
	return m.identity, err
}

// digests remembers what was digested, by file and time of change, for one artifact.
type digests struct {
	max    int64
	seen   map[digestKey]evidence.Digest
	memory int64 // bytes of processes' memory that were digested
}

type digestKey struct {
	identity
	size, ctime int64
}

// of is the digest of an open regular file from its start; ok is false when it is
// bigger than the bound.
func (d *digests) of(ctx context.Context, wait *patience, f *os.File) (sum evidence.Digest, ok bool, err error) {
	m, err := metaOf(int(f.Fd()))
	if err != nil || m.kind() != unix.S_IFREG || m.size > d.max {
		return sum, false, err
	}
	key := digestKey{m.identity, m.size, m.ctime.UnixNano()}
	if sum, ok := d.seen[key]; ok {
		return sum, true, nil
	}
	warm := cached(int(f.Fd()))
	h := sha256.New()
	if _, err := io.CopyBuffer(h, &patient{ctx, &timed{p: wait, r: io.LimitReader(f, d.max)}}, make([]byte, 128<<10)); err != nil {
		return sum, false, fmt.Errorf("read: %w", err)
	}
	release(int(f.Fd()), warm)
	h.Sum(sum[:0])
	if d.seen == nil {
		d.seen = map[digestKey]evidence.Digest{}
	}
	if len(d.seen) < 4096 {
		d.seen[key] = sum
	}
	return sum, true, nil
}

// patient is a reader that ends when ctx does.
type patient struct {
	ctx context.Context
	r   io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}
