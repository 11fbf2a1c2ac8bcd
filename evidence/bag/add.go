package bag

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"irkit.dev/irkit/evidence"
)

// Add streams one artifact into the bundle, as evidence.Sink promises. It returns once
// payload and entry are synced to disk. A reader that blocks is not interrupted: it must
// end by itself when ctx does. An artifact with an impossible name (see evidence.Artifact)
// is refused, and nothing is written.
//
// When the disk is full the reserve is given up, so that what came can be closed and
// told; artifacts after it are entered as impossible, with ErrDiskFull, until there is room
// for the reserve again.
func (w *Writer) Add(ctx context.Context, a evidence.Artifact, r io.Reader) (evidence.Entry, error) {
	if err := check(a, r != nil); err != nil {
		return evidence.Entry{}, fmt.Errorf("add %s of %s: %w", a.Kind, a.Ordinal, err)
	}
	index, err := w.enter()
	if err != nil {
		return evidence.Entry{}, fmt.Errorf("add %s of %s: %w", a.Kind, a.Ordinal, err)
	}
	defer w.arriving.Done()
	e, err := w.take(ctx, index, a, r)
	if err != nil {
		return e, fmt.Errorf("add %s of %s as entry %s: %w", a.Kind, a.Ordinal, entryID(index), err)
	}
	return e, nil
}

// enter takes the next index for an Add under way.
func (w *Writer) enter() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return 0, ErrFrozen
	}
	w.arriving.Add(1)
	w.next++
	return w.next, nil
}

func (w *Writer) take(ctx context.Context, index int, a evidence.Artifact, r io.Reader) (evidence.Entry, error) {
	e := w.begin(index, a)
	if a.Absent != nil {
		return w.file(e, nil)
	}
	if w.isDiskFull() {
		e.Status, e.Reason, e.Finished = evidence.Impossible, ErrDiskFull.Error(), w.now()
		return w.file(e, ErrDiskFull)
	}
	p := &payload{w: w, index: index, a: a, whole: sha256.New()}
	if err := errors.Join(w.announce(e), p.begin()); err != nil {
		if isFull(err) {
			w.diskFull()
		}
		e.Status, e.Reason, e.Finished = evidence.Impossible, reason(err), w.now()
		return w.file(e, errors.Join(err, p.abandon()))
	}
	in := &intake{hash: sha256.New()}
	err := in.pour(ctx, p, r)
	err = errors.Join(err, p.end())
	e = w.describe(e, p, in, r, &err)
	return w.file(e, err)
}

// describe completes the entry of bytes that came.
func (w *Writer) describe(e evidence.Entry, p *payload, in *intake, r io.Reader, err *error) evidence.Entry {
	e.Status = evidence.Collected
	if t, ok := r.(interface{ Trailer() evidence.Trailer }); ok {
		trailer := t.Trailer()
		e.Notes = clipAll(trailer.Notes)
		if *err == nil {
			*err = in.compare(trailer)
		}
		if trailer.Changed {
			e.Status, e.Reason = evidence.Changed, "the source changed while it was read"
		}
	}
	if *err != nil {
		e.Status, e.Reason = evidence.Truncated, reason(*err)
	}
	e.Parts, e.Size = p.parts, p.total
	p.whole.Sum(e.SHA256[:0])
	if p.a.Compress && p.framed {
		e.Encoding = &evidence.Encoding{Name: "zstd", Size: in.size, SHA256: in.sum()}
	} else if p.a.Compress {
		e.Notes = append(e.Notes, unfinishedFrame)
	}
	e.Finished = w.now()
	return e
}

const unfinishedFrame = "the zstd frame is not finished: what it holds can be read up to its end"

// intake is the artifact as it came, before compression.
type intake struct {
	hash hash.Hash
	size int64
}

// pour copies r into p until it ends, and says why it ended early.
func (in *intake) pour(ctx context.Context, p *payload, r io.Reader) error {
	buf := make([]byte, 256<<10)
	for idle := 0; ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			idle = 0
			in.hash.Write(buf[:n])
			in.size += int64(n)
			if werr := p.write(buf[:n]); werr != nil {
				return werr
			}
		} else if idle++; idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (in *intake) sum() (d evidence.Digest) {
	in.hash.Sum(d[:0])
	return d
}

// compare holds what arrived against what the source says it sent.
func (in *intake) compare(t evidence.Trailer) error {
	if t.Size >= 0 && t.Size != in.size {
		return fmt.Errorf("%w: %d bytes arrived, the source sent %d", ErrMismatch, in.size, t.Size)
	}
	if !t.SHA256.IsZero() && t.SHA256 != in.sum() {
		return fmt.Errorf("%w: %s arrived, the source sent %s", ErrMismatch, in.sum(), t.SHA256)
	}
	return nil
}

func (w *Writer) now() time.Time { return w.o.Clock().UTC().Round(0) }
