//go:build linux

package inside

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// out is where a kind writes its artifact: straight on to the receiver.
type out struct {
	w   *bufio.Writer
	max int64 // 0: none
	n   int64

	mu      sync.Mutex
	trailer evidence.Trailer
}

// Write counts; it never splits what it is given over the limit.
func (o *out) Write(p []byte) (int, error) {
	if o.max > 0 && o.n+int64(len(p)) > o.max {
		return 0, fmt.Errorf("%d bytes: %w", o.max, ErrLimit)
	}
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, err
}

// line writes v as one JSON line.
func (o *out) line(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	_, err := o.Write(b.Bytes())
	return err
}

// note tells the reader of the entry something, once.
func (o *out) note(format string, a ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := fmt.Sprintf(format, a...)
	if len(o.trailer.Notes) < 64 && !slices.Contains(o.trailer.Notes, text) {
		o.trailer.Notes = append(o.trailer.Notes, text)
	}
}

// changed says that the source changed while it was read.
func (o *out) changed(format string, a ...any) {
	o.note(format, a...)
	o.mu.Lock()
	o.trailer.Changed = true
	o.mu.Unlock()
}

// tap is what the receiver reads.
type tap struct {
	*io.PipeReader
	o *out
}

// Trailer answers after the end.
func (t *tap) Trailer() evidence.Trailer {
	t.o.mu.Lock()
	defer t.o.mu.Unlock()
	trailer := t.o.trailer
	trailer.Notes = slices.Clone(trailer.Notes)
	return trailer
}

// lateness is how long a reader may go on after nobody reads it any more; then it is
// left alone with errLeft, and what it uses is not touched again.
const lateness = 10 * time.Second

var errLeft = errors.New("reader does not come back from the kernel")

// stream hands emit the bytes that produce writes while it writes them. Errors of
// produce are the reader's; the result is emit's error, or ctx's.
func stream(ctx context.Context, h agent.Header, max int64, emit Emit, produce func(*out) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, w := io.Pipe()
	o := &out{w: bufio.NewWriterSize(w, 256<<10), max: max, trailer: evidence.Trailer{Size: -1}}
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := guard(func() error { return produce(o) })
		if e := o.w.Flush(); err == nil {
			err = e
		}
		w.CloseWithError(err)
	}()
	err := emit(h, &tap{PipeReader: r, o: o})
	r.CloseWithError(errors.Join(io.ErrClosedPipe, err))
	late := time.NewTimer(lateness)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		return errors.Join(fmt.Errorf("%s: %w", h.Kind, errLeft), err, ctx.Err())
	}
	if err != nil {
		return err
	}
	return ctx.Err()
}

// guard makes an error of a panic: hostile input that finds a mistake of ours costs
// one artifact, not the worker.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reader broke on its input: %v", p)
		}
	}()
	return f()
}

// readError is an error of the source, not of the way.
type readError struct{ error }

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
