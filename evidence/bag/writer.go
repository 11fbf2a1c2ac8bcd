package bag

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"sync"
	"time"

	"irkit.dev/irkit/evidence"
)

// Errors of a Writer.
var (
	// ErrSealed refuses every change to a bundle that has its seal.
	ErrSealed = errors.New("bundle is sealed")
	// ErrFrozen refuses an artifact after Freeze.
	ErrFrozen = errors.New("bundle takes no more artifacts")
	// ErrDiskFull says that the local disk had no more room.
	ErrDiskFull = errors.New("local disk is full")
	// ErrMismatch says that what arrived is not what the source says it sent.
	ErrMismatch = errors.New("bytes differ from what the source sent")
)

// Options of a Writer. The zero value is right for a session.
type Options struct {
	Clock   func() time.Time // nil: the system's
	SplitAt int64            // bytes of one part; 0: 1 GiB
	Reserve int64            // bytes kept free for the seal; 0: 64 MiB, negative: none
}

const (
	defaultSplit   = 1 << 30
	defaultReserve = 64 << 20
)

// Writer is a bundle that is not sealed yet, or was sealed by this Writer. Safe for
// concurrent use. It expects to be the only one: the case folder's lock sees to that.
type Writer struct {
	id   string
	o    Options
	kase *os.Root // the case folder: what is not yet, or never, in the bundle
	root *os.Root // the bundle

	arriving sync.WaitGroup // Adds under way
	mu       sync.Mutex
	next     int // index of the next entry
	entries  []evidence.Entry
	lines    *os.File // meta/entries.jsonl
	size     int64    // of lines, in whole entries
	reserved bool
	full     bool
	frozen   *Frozen
	closing  bool
	told     []string   // what Open found and did
	tags     sync.Mutex // one tag file at a time
}

var idForm = regexp.MustCompile(`^irkit-[a-z0-9][a-z0-9-]{0,120}$`)

// Create makes a new bundle in the case folder, which must be there: its folder (0700),
// data/, meta/entries.jsonl, and the reserve beside it. A bundle of that id that is
// already there is an error. Without room for the reserve it fails with ErrDiskFull.
func Create(ctx context.Context, caseDir, id string, o Options) (*Writer, error) {
	w, err := open(ctx, caseDir, id, o, true)
	if err != nil {
		return nil, fmt.Errorf("create bundle %s in %s: %w", id, caseDir, err)
	}
	return w, nil
}

// Open opens a bundle that a session left unsealed. What was entered stays as it was
// written. A payload without an entry, left by a crash, gets one that says truncated. An
// unfinished last line of meta/entries.jsonl is set aside in a file beside it; a bundle
// with a seal fails with ErrSealed.
func Open(ctx context.Context, caseDir, id string, o Options) (*Writer, error) {
	w, err := open(ctx, caseDir, id, o, false)
	if err != nil {
		return nil, fmt.Errorf("open bundle %s in %s: %w", id, caseDir, err)
	}
	return w, nil
}

func open(ctx context.Context, caseDir, id string, o Options, create bool) (_ *Writer, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if !idForm.MatchString(id) {
		return nil, errors.New("id is not irkit-<case>-<ulid> in [a-z0-9-]")
	}
	w, made := &Writer{id: id, o: o.defaults()}, false
	defer func() {
		if err == nil {
			return
		}
		if made {
			// Only when nothing is in it yet.
			_ = w.kase.Remove(id)
		}
		err = errors.Join(err, w.Close())
	}()
	if w.kase, err = os.OpenRoot(caseDir); err != nil {
		return nil, err
	}
	if create {
		if err := w.kase.Mkdir(id, 0o700); err != nil {
			return nil, err
		}
		made = true
	}
	if w.root, err = w.kase.OpenRoot(id); err != nil {
		return nil, err
	}
	if err := unsealed(w.root); errors.Is(err, ErrSealed) {
		// The crash may have come between the signature and this.
		return nil, errors.Join(err, w.readOnly())
	} else if err != nil {
		return nil, err
	}
	return w, w.prepare(ctx, create)
}

func (w *Writer) prepare(ctx context.Context, create bool) error {
	if err := w.reserve(); isFull(err) && !create {
		w.full = true // what is left belongs to the seal
	} else if err != nil {
		return err
	}
	for _, dir := range []string{evidence.PayloadDir, path.Dir(evidence.EntriesJSONL)} {
		if err := w.mkdir(dir); err != nil {
			return err
		}
	}
	if err := w.openEntries(); err != nil {
		return err
	}
	if err := errors.Join(syncDir(w.root, "."), syncDir(w.kase, ".")); err != nil {
		return err
	}
	return w.adopt(ctx)
}

func (o Options) defaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.SplitAt <= 0 {
		o.SplitAt = defaultSplit
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	return o
}

// ID is the bundle's name.
func (w *Writer) ID() string { return w.id }

// Dir is the bundle's folder.
func (w *Writer) Dir() string { return w.root.Name() }

// Root is the bundle's folder, for the custody log. Everything else goes in through
// Add and WriteTag.
func (w *Writer) Root() *os.Root { return w.root }

// Entries are those that the bundle holds now, in order of arrival.
func (w *Writer) Entries() []evidence.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]evidence.Entry(nil), w.entries...)
}

// Recovered says, one sentence each, what a crash had left and Open or Freeze filed or set
// aside: the caller owes the custody log a record of it.
func (w *Writer) Recovered() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.told...)
}

// Close gives the bundle up without a seal, and its reserve back; it can be opened again.
// It may be called twice, and after Seal.
func (w *Writer) Close() error {
	w.arriving.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	if w.kase != nil {
		errs = append(errs, w.freeReserve())
	}
	if w.lines != nil {
		errs = append(errs, w.lines.Close())
	}
	for _, r := range []*os.Root{w.root, w.kase} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	w.lines, w.kase, w.closing = nil, nil, true
	return errors.Join(errs...)
}
