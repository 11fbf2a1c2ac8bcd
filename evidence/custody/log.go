package custody

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"irkit.dev/irkit/evidence"
)

// ErrSealed refuses a record to a log whose bundle has its seal.
var ErrSealed = errors.New("bundle is sealed: its custody log goes on beside it")

// Options of a log.
type Options struct {
	Bundle string // bundle_id of every record
	Case   string // case_id of every record
	// Earlier goes into the first record of a further bundle of a case.
	Earlier *evidence.Earlier
	// Clock tells the time of a record; nil: the system's.
	Clock func() time.Time
	// Entropy feeds the record's ULID; nil: the system's.
	Entropy io.Reader
}

// Log is a chain of records open for writing. Safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	o       Options
	head    Head
	seal    string // of the bundle that this log follows; empty inside one
	records []evidence.Record
	put     func(line []byte, seq int, digest evidence.Digest) error
	shut    func() error
	broken  error
}

// Append completes the record (V, Seq, Prev, ID, Time, and Bundle and Case where they
// are empty; after a seal, Seal too), writes it as one line, and returns only when it is synced to disk. The
// digest is that of the line. After an error nothing was added; when even that could not
// be assured, every later Append fails too. A cancelled ctx adds nothing.
func (l *Log) Append(ctx context.Context, r evidence.Record) (evidence.Record, evidence.Digest, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none evidence.Digest
	if err := context.Cause(ctx); err != nil {
		return r, none, fmt.Errorf("append %s to custody log: %w", r.Action, err)
	}
	if l.broken != nil {
		return r, none, fmt.Errorf("append %s to custody log: an earlier write went wrong: %w", r.Action, l.broken)
	}
	if err := l.complete(&r); err != nil {
		return r, none, err
	}
	line, err := Line(r)
	if err != nil {
		return r, none, fmt.Errorf("append %s to custody log: %w", r.Action, err)
	}
	digest := evidence.Digest(sha256.Sum256(line))
	if err := l.put(append(line, '\n'), r.Seq, digest); err != nil {
		return r, none, fmt.Errorf("append %s to custody log: %w", r.Action, err)
	}
	l.head = Head{r.Seq + 1, digest}
	l.records = append(l.records, r)
	return r, digest, nil
}

func (l *Log) complete(r *evidence.Record) error {
	now := l.o.Clock().UTC().Round(0)
	id, err := ulid.New(ulid.Timestamp(now), l.o.Entropy)
	if err != nil {
		return fmt.Errorf("append %s to custody log: make its id: %w", r.Action, err)
	}
	r.V, r.Seq, r.Prev, r.ID, r.Time = 1, l.head.Next, l.head.Prev(), id.String(), now
	if r.Bundle == "" {
		r.Bundle = l.o.Bundle
	}
	if r.Case == "" {
		r.Case = l.o.Case
	}
	if r.Seal == "" {
		r.Seal = l.seal
	}
	if r.Seq == 0 && r.Earlier == nil {
		r.Earlier = l.o.Earlier
	}
	return nil
}

// Head is the end of the chain as it stands on disk.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Records are all that were read when the log was opened and those appended since.
// The slice is the caller's; what its pointers reach is not.
func (l *Log) Records() []evidence.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]evidence.Record(nil), l.records...)
}

// Close gives the log up; it may be called twice.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut == nil {
		return nil
	}
	shut := l.shut
	l.shut, l.broken = nil, errors.New("log is closed")
	return shut()
}

func (o Options) defaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Entropy == nil {
		o.Entropy = rand.Reader
	}
	return o
}
