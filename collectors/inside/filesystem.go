//go:build linux

package inside

import (
	"context"
	"errors"
	"iter"
	"strconv"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// filesystem streams the target's whole root file system as tar, and after it an
// index of every name with its digest. The index waits compressed in memory while the
// tar goes out; a tree whose index outgrows its budget goes on in a further pair, each
// tar of which is whole by itself.
func (b beside) filesystem(ctx context.Context, q agent.Request, emit Emit) error {
	return b.pairs(ctx, q, emit, "filesystem", collectors.RankFilesystem, func(w *walk) error {
		return w.enter("/", w.t.fd, place{mount: w.mounts.base})
	})
}

// pairs runs one walk, and files what it finds as pairs of tar and index.
func (b beside) pairs(ctx context.Context, q agent.Request, emit Emit, kind string, rank int, run func(*walk) error) error {
	h := b.header(kind, "tar", "application/x-tar", rank, evidence.Restricted)
	w, err := b.newWalk(ctx, q)
	if err != nil {
		return absent(h, evidence.Impossible, emit, "root of process %d: %s", b.TargetPID, cause(err))
	}

	// The walk is a coroutine: it runs inside the stream of the pair that is being
	// written, and stops between two names when a new pair is to begin.
	var o *out
	next, stop := iter.Pull(func(yield func(error) bool) {
		begin := func() (err error) {
			if w.a, err = newArchive(ctx, o); err == nil {
				w.a.known = b.known
			}
			return err
		}
		if err := begin(); err != nil {
			yield(err)
			return
		}
		w.turn = func() bool { return yield(w.a.close()) && begin() == nil }
		err := run(w)
		w.finished = true
		if e := w.a.close(); err == nil {
			err = e
		}
		yield(err)
	})
	left := false
	defer func() {
		if !left {
			stop()
			_ = w.t.Close()
		}
	}()
	for n := 1; ; n++ {
		var result error
		err := stream(ctx, part(h, n), q.MaxBytes, emit, func(to *out) error {
			o = to
			for _, note := range w.mounts.notes {
				o.note("%s", note)
			}
			result, _ = next()
			return result
		})
		if left = errors.Is(err, errLeft); err != nil {
			return err
		}
		if w.a == nil {
			return result
		}
		index := b.header(kind+"-index", "jsonl", jsonLines, rank, evidence.Internal)
		spool := w.a.spool
		if err := stream(ctx, part(index, n), 0, emit, spool.writeTo); err != nil {
			return err
		}
		if w.finished {
			return nil
		}
	}
}

func part(h agent.Header, n int) agent.Header {
	if n > 1 {
		h.Detail += ", continued (" + strconv.Itoa(n) + ")"
	}
	return h
}

func (b beside) newWalk(ctx context.Context, q agent.Request) (*walk, error) {
	t, err := openTree(b.proc.of(b.TargetPID, "root"))
	if err != nil {
		return nil, err
	}
	return &walk{ctx: ctx, q: q, b: b.Budgets, t: t, mounts: b.newMountTable(t, q.SkipMounts)}, nil
}
