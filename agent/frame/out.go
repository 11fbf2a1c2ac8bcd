package frame

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Out is where a Handler's answers go. It is used by one goroutine at a time.
type Out struct {
	ses   *session
	ctx   context.Context
	call  uint64
	codec Codec
	after func()
	buf   []byte
}

// Tune sets the compression of what is emitted.
func (o *Out) Tune(c Codec) { o.codec = c }

// After sets what is done once the caller was told that the call is over.
func (o *Out) After(fn func()) { o.after = fn }

// Reply sends v as the answer. A call has at most one.
func (o *Out) Reply(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	stream, err := o.open(control{Op: opOpen, Call: o.call, Reply: true})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	for rest := b; len(rest) > 0; {
		n := min(len(rest), MaxPayload)
		if err := o.data(stream, S2, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return o.end(stream, endRecord{Size: int64(len(b)), SHA256: evidence.Digest(sum)})
}

// Emit sends one artifact, reading r to its end and hashing it on the way; r is nil
// for one that is absent. A reading that fails is told in the end record and is no
// error here: the next artifact may still be had.
func (o *Out) Emit(h agent.Header, r io.Reader) error {
	if (r == nil) != (h.Absent != nil) {
		return fmt.Errorf("emit %s: an artifact has bytes or says why not", h.Kind)
	}
	stream, err := o.open(control{Op: opOpen, Call: o.call, Header: &h})
	if err != nil || r == nil {
		return err
	}
	sum := sha256.New()
	rec, err := o.copy(stream, sum, r)
	if err != nil {
		return err
	}
	sum.Sum(rec.SHA256[:0])
	if t, ok := r.(interface{ Trailer() evidence.Trailer }); ok {
		tr := t.Trailer()
		rec.Changed, rec.Notes = tr.Changed, bounded(tr.Notes)
	}
	return o.end(stream, rec)
}

func (o *Out) copy(stream uint32, sum hash.Hash, r io.Reader) (endRecord, error) {
	var rec endRecord
	if o.buf == nil {
		o.buf = make([]byte, MaxPayload)
	}
	for {
		if err := o.ctx.Err(); err != nil {
			return rec, err
		}
		var n int
		err := guard(func() (err error) { n, err = fill(r, o.buf); return err })
		if n > 0 {
			sum.Write(o.buf[:n])
			rec.Size += int64(n)
			if err := o.data(stream, o.codec, o.buf[:n]); err != nil {
				return rec, err
			}
		}
		switch {
		case err == nil:
		case err == io.EOF: //nolint:errorlint // alone it is the end; wrapped, someone lacked bytes
			return rec, nil
		default:
			rec.Error = clean(err.Error(), 4096)
			return rec, nil
		}
	}
}

// fill reads until p is full or r ends, and passes on r's own error.
func fill(r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p) && err == nil; {
		var m int
		m, err = r.Read(p[n:])
		if n += m; m > 0 {
			idle = 0
		} else if idle++; idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

func bounded(notes []string) []string {
	out := make([]string, 0, min(len(notes), 101))
	for i, n := range notes {
		if i == 100 {
			out = append(out, fmt.Sprintf("and %d more", len(notes)-i))
			break
		}
		out = append(out, clean(n, 1024))
	}
	return out
}

func (o *Out) open(c control) (uint32, error) {
	o.ses.stream++
	c.Stream = o.ses.stream
	return c.Stream, o.ses.control(o.ctx, c)
}

func (o *Out) data(stream uint32, codec Codec, p []byte) error {
	f, err := o.ses.coder.pack(Frame{Kind: Data, Stream: stream}, codec, p)
	if err != nil {
		return err
	}
	return o.ses.link.send(o.ctx, f)
}

func (o *Out) end(stream uint32, rec endRecord) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("end record: %w", err)
	}
	f, err := o.ses.coder.pack(Frame{Kind: End, Stream: stream}, None, b)
	if err != nil {
		return err
	}
	return o.ses.link.send(o.ctx, f)
}
