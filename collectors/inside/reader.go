//go:build linux

package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/known"
	"irkit.dev/irkit/evidence"
)

// ErrLimit ends an artifact at the size that its request set, or at a budget of
// the reader. What was read before it is whole: JSON lines end at a line, a tar at
// its trailer.
var ErrLimit = errors.New("limit reached")

// ErrKind is the refusal of a request whose kind this package does not know.
var ErrKind = errors.New("unknown kind of artifact")

// Options say where to read and who is who.
type Options struct {
	ProcRoot    string // "/proc" when empty
	TargetPID   int    // a process of the target container, as ProcRoot numbers it
	ContainerID string // of the target, without its scheme; empty: all that is near TargetPID
	NodePIDs    bool   // the processes seen are the node's: only those of the target's control groups are near
	Self        int    // the worker's own process; 0: os.Getpid
	// Trust is what the headers say of the bytes' way; TrustDebugger when empty.
	Trust   evidence.Trust
	Budgets Budgets
}

// Budgets bound what a hostile target can make the reader do. Zero fields take
// the defaults of DefaultBudgets.
type Budgets struct {
	Depth     int   // directories below each other; each holds a descriptor while it is read
	Entries   int   // names in one tree
	Path      int   // bytes of one path
	HashBytes int64 // bytes read to digest one executable
	Recover   int64 // bytes of one recovered file
	Index     int   // compressed bytes of an index in memory before a tree goes on in a further tar
	Processes int   // in one table
	Sockets   int   // in one table
	// Wait is how long one answer may take that the target can hold back.
	Wait time.Duration
}

// DefaultBudgets hold the worker under 64 MiB.
func DefaultBudgets() Budgets {
	return Budgets{
		Depth: 1024, Entries: 20_000_000, Path: 64 << 10, HashBytes: 512 << 20, Recover: 1 << 30,
		Index: 8 << 20, Processes: 8192, Sockets: 32768,
		Wait: 2 * time.Second,
	}
}

// Emit receives one artifact; the reader is nil when the header says absent.
type Emit = func(agent.Header, io.Reader) error

// Reader reads beside one target. Safe for concurrent use.
type Reader struct {
	beside
	mu     sync.Mutex
	tables *Tables
	known  *known.Set // from Know, until a request takes it
}

// New makes a reader; nothing is read yet.
func New(o Options) *Reader {
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	if o.Self == 0 {
		o.Self = os.Getpid()
	}
	if o.Trust == "" {
		o.Trust = evidence.TrustDebugger
	}
	o.Budgets = o.Budgets.withDefaults()
	return &Reader{beside: beside{Options: o, proc: proc{root: o.ProcRoot}}}
}

func (b Budgets) withDefaults() Budgets {
	d := DefaultBudgets()
	or := func(v, d int) int {
		if v <= 0 {
			return d
		}
		return v
	}
	b.Depth, b.Entries, b.Path = or(b.Depth, d.Depth), or(b.Entries, d.Entries), or(b.Path, d.Path)
	b.Index, b.Processes, b.Sockets = or(b.Index, d.Index), or(b.Processes, d.Processes), or(b.Sockets, d.Sockets)
	if b.HashBytes <= 0 {
		b.HashBytes = d.HashBytes
	}
	if b.Wait <= 0 {
		b.Wait = d.Wait
	}
	if b.Recover <= 0 {
		b.Recover = d.Recover
	}
	return b
}

// Tables are the socket and process tables of one moment, in memory.
type Tables struct {
	Read      time.Time     // when reading began
	Took      time.Duration // until the last line
	Processes []Process
	Sockets   []Socket
	Notes     []string // what is missing in them, and why
}

// Snapshot reads socket and process tables from /proc and the kernel alone, in tens of
// milliseconds, and keeps them: Collect tells of them as the opening tables. It says
// how many processes there were. A further call keeps the first. An error means that
// neither table could be read; what is missing in one is in its notes.
func (r *Reader) Snapshot(ctx context.Context) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tables == nil {
		t, err := r.beside.read(ctx)
		if err != nil {
			return 0, fmt.Errorf("read tables of process %d: %w", r.TargetPID, err)
		}
		r.tables = t
	}
	return len(r.tables.Processes), nil
}

// Opening is what Snapshot kept; nil before it. It is not to be changed.
func (r *Reader) Opening() *Tables {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tables
}

// Flows are the TCP and UDP sockets in the calling thread's network namespace now,
// with their owners where found.
func (r *Reader) Flows(ctx context.Context) ([]evidence.Flow, error) {
	t, err := r.beside.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read flows of process %d: %w", r.TargetPID, err)
	}
	return t.Flows(), nil
}

// Kinds are the kinds that Collect knows, in the order of their volatility.
func Kinds() []string {
	return []string{"processes", "connections", "environment", "open-files", "mounts", "recovered", "persistence", "filesystem"}
}

// OptIn are the kinds that Collect knows and that nobody gets who did not ask for them.
func OptIn() []string { return []string{"memory", "packets"} }

// Collect streams the artifacts of one request to emit, one after the other, in
// constant memory. A kind gives at least one artifact; one with nothing in it has no
// bytes, one that could not be read is absent with the reason. A reader that emit
// gets has the method Trailer() evidence.Trailer, which answers after the end; its
// error, where it does not end with io.EOF, says what cut it short. Collect returns
// the first error of emit, ctx's, or ErrKind.
func (r *Reader) Collect(ctx context.Context, q agent.Request, emit func(agent.Header, io.Reader) error) error {
	collect := map[string]func(beside, context.Context, agent.Request, Emit) error{
		"processes": beside.processes, "connections": beside.connections, "environment": beside.environment,
		"open-files": beside.openFiles, "mounts": beside.mounts, "recovered": beside.recovered,
		"persistence": beside.persistence, "filesystem": beside.filesystem,
		"memory": beside.memoryOf, "packets": beside.packets,
	}[q.Kind]
	if collect == nil {
		return fmt.Errorf("collect %q: %w", q.Kind, ErrKind)
	}
	b, err := r.beside.aim(q.ContainerID)
	if err != nil {
		return fmt.Errorf("collect %s: %w", q.Kind, err)
	}
	b.opening = r.Opening()
	if b.known, err = r.takeKnown(q); err != nil {
		return fmt.Errorf("collect %s: %w", q.Kind, err)
	}
	if err := collect(b, ctx, q, emit); err != nil {
		return fmt.Errorf("collect %s: %w", q.Kind, err)
	}
	return nil
}
