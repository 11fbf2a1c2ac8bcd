package frame

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// stream reads one artifact as it comes. It ends with io.EOF only when the end record
// came and agrees with every byte before it; its last frame is acknowledged then.
type stream struct {
	ctx  context.Context
	c    *Client
	call uint64
	id   uint32

	rest []byte // of the message at hand
	held Frame
	sum  hash.Hash
	size int64
	rec  endRecord
	err  error // after the last byte: io.EOF or why it is truncated
}

func newStream(ctx context.Context, c *Client, call uint64, id uint32) *stream {
	return &stream{ctx: ctx, c: c, call: call, id: id, sum: sha256.New()}
}

func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.err = s.fetch()
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.c.link.consume(s.held)
	}
	return n, nil
}

func (s *stream) fetch() error {
	m, err := s.c.next(s.ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", agent.ErrTruncated, err)
	case m.Kind == Control && m.control.Call >= s.call: // a call that ends in the middle
		s.c.pushed = &m
		return fmt.Errorf("%w: worker stopped in the middle", agent.ErrTruncated)
	case m.Kind == Control || m.Stream != s.id: // of a call that was given up
		s.c.link.consume(m.Frame)
		return nil
	case m.Kind == Data:
		s.sum.Write(m.payload)
		s.size += int64(len(m.payload))
		if s.rest, s.held = m.payload, m.Frame; len(s.rest) == 0 {
			s.c.link.consume(m.Frame)
		}
		return nil
	}
	if err := unmarshal(m.Frame, m.payload, &s.rec); err != nil {
		s.c.link.fail(err)
		return fmt.Errorf("%w: %w", agent.ErrTruncated, err)
	}
	s.c.link.consume(m.Frame)
	var d evidence.Digest
	s.sum.Sum(d[:0])
	switch {
	case s.rec.Error != "":
		return fmt.Errorf("%w: at the source: %s", agent.ErrTruncated, clean(s.rec.Error, 4096))
	case s.rec.Size != s.size || s.rec.SHA256 != d:
		return fmt.Errorf("%w: %d bytes with %s came, its end record has %d with %s",
			agent.ErrTruncated, s.size, d, s.rec.Size, s.rec.SHA256)
	}
	return io.EOF
}

// drain reads what is left and throws it away.
func (s *stream) drain() { _, _ = io.Copy(io.Discard, s) }

// Trailer is what the source knew at its end. Before the end, and without an end
// record, nothing is known.
func (s *stream) Trailer() evidence.Trailer {
	if s.err == nil || s.rec.SHA256.IsZero() {
		return evidence.Trailer{Size: -1}
	}
	return evidence.Trailer{SHA256: s.rec.SHA256, Size: s.rec.Size, Changed: s.rec.Changed, Notes: bounded(s.rec.Notes)}
}
