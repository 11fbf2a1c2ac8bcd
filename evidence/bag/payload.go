package bag

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"

	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/evidence"
)

// payload is an artifact's stored bytes on their way into one or more files.
type payload struct {
	w     *Writer
	index int
	a     evidence.Artifact

	out    io.Writer     // the files, or the encoder before them
	enc    *zstd.Encoder // nil: stored as it comes
	framed bool          // the encoder's frame is whole
	full   error         // the disk was full, but all was written so far

	f     *os.File
	size  int64 // of the open part
	h256  hash.Hash
	h512  hash.Hash
	parts []evidence.Part
	total int64
	whole hash.Hash // over all parts
}

// begin makes the first file, and the encoder.
func (p *payload) begin() error {
	if err := p.w.mkdir(path.Join(evidence.PayloadDir, string(p.a.Section))); err != nil {
		return err
	}
	if err := p.open(evidence.PayloadPath(p.index, p.a, 1, false)); err != nil {
		return err
	}
	p.out = files{p}
	if !p.a.Compress {
		return nil
	}
	// One goroutine less per artifact, and bounded memory; level as measured at rest.
	enc, err := zstd.NewWriter(files{p}, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("start zstd: %w", err)
	}
	p.enc, p.out = enc, enc
	return nil
}

func (p *payload) open(name string) error {
	f, err := p.w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	p.f, p.size, p.h256, p.h512 = f, 0, sha256.New(), sha512.New()
	p.parts = append(p.parts, evidence.Part{Path: name})
	return nil
}

// write takes bytes of the artifact. An error means that no more can be taken; all that
// is in the files is hashed.
func (p *payload) write(b []byte) error {
	if _, err := p.out.Write(b); err != nil {
		return err
	}
	return p.full
}

// files writes stored bytes into parts.
type files struct{ p *payload }

func (s files) Write(b []byte) (int, error) {
	p, done := s.p, 0
	for done < len(b) {
		if p.size == p.w.o.SplitAt {
			if err := p.split(); err != nil {
				return done, err
			}
		}
		chunk := b[done:min(int64(len(b)), int64(done)+p.w.o.SplitAt-p.size)]
		n, err := p.w.retryFull(p.f, chunk)
		for _, h := range []hash.Hash{p.h256, p.h512, p.whole} {
			h.Write(chunk[:n])
		}
		p.size, p.total, done = p.size+int64(n), p.total+int64(n), done+n
		if err != nil && n == len(chunk) && isFull(err) {
			// The reserve took the rest: the encoder may still end its frame.
			p.full, err = fmt.Errorf("%w: %w", ErrDiskFull, err), nil
		}
		if isFull(err) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// split ends the open part and begins the next. The first part gets its number only now.
func (p *payload) split() error {
	if len(p.parts) == 1 {
		from, to := p.parts[0].Path, evidence.PayloadPath(p.index, p.a, 1, true)
		if err := p.w.root.Rename(from, to); err != nil {
			return err
		}
		p.parts[0].Path = to
	}
	if err := p.shut(); err != nil {
		return err
	}
	return p.open(evidence.PayloadPath(p.index, p.a, len(p.parts)+1, true))
}

// shut syncs the open part and notes its size and digests.
func (p *payload) shut() error {
	if p.f == nil {
		return nil
	}
	part := &p.parts[len(p.parts)-1]
	part.Size = p.size
	p.h256.Sum(part.SHA256[:0])
	part.SHA512 = hex.EncodeToString(p.h512.Sum(nil))
	err := errors.Join(p.f.Sync(), p.f.Close())
	p.f = nil
	return err
}

// end finishes frame and files and syncs them. It is called once, whatever went wrong before.
func (p *payload) end() error {
	var err error
	if p.enc != nil {
		err = p.enc.Close()
		p.framed = err == nil
	}
	dir := path.Join(evidence.PayloadDir, string(p.a.Section))
	return errors.Join(err, p.shut(), syncDir(p.w.root, dir))
}

// abandon takes away a file that was made but never written.
func (p *payload) abandon() error {
	if p.f == nil {
		return nil
	}
	err := errors.Join(p.f.Close(), p.w.root.Remove(p.parts[0].Path))
	p.f = nil
	return err
}
