package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/quarantine"
)

// ErrReleased says that the case was released, or the change in question was undone.
var ErrReleased = errors.New("case was released")

// ErrUnsealed says that the case has a bundle that is not sealed: a session runs, or was
// killed.
var ErrUnsealed = errors.New("case has a bundle that is not sealed")

// later writes to the custody chain of a sealed case, and holds the case only while it
// writes: so release and contain may run beside. It implements evidence.Recorder and Noter.
type later struct {
	*Engine
	caseID string
}

// with opens the chain that follows the last bundle.
func (l later) with(fn func(*Journal, History) error) error {
	dir := l.Cases.Dir(l.caseID)
	lock, err := custody.LockCase(dir)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	h, err := l.Cases.History(l.caseID)
	if err != nil {
		return err
	}
	last, any := h.Last()
	if !any || !last.Sealed {
		return fmt.Errorf("write to case %s: %w", l.caseID, ErrUnsealed)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open case %s: %w", l.caseID, err)
	}
	defer root.Close()
	log, err := custody.Continue(root, custody.Options{Bundle: last.ID, Case: l.caseID, Clock: l.Now})
	if err != nil {
		return err
	}
	journal := NewJournal(log, h.Records, cluster.WithAudit)
	journal.Actor = &l.Actor
	return errors.Join(fn(journal, h), log.Close())
}

// Note implements Noter.
func (l later) Note(ctx context.Context, r evidence.Record) error {
	return l.with(func(j *Journal, _ History) error { return j.Note(ctx, r) })
}

// rest writes what was sent beside the changes.
func (l later) rest(ctx context.Context) error {
	sent := l.Conn.Sent()
	if len(sent) == 0 {
		return nil
	}
	return l.with(func(j *Journal, _ History) error { return j.Rest(ctx, sent) })
}

// Do implements evidence.Recorder. A write of an earlier session does not stand for this
// one.
func (l later) Do(ctx context.Context, c evidence.Change, act func(context.Context) (json.RawMessage, error)) (answer json.RawMessage, err error) {
	err = l.with(func(j *Journal, _ History) error {
		answer, err = j.again(ctx, c, act)
		return err
	})
	return answer, err
}

// restore makes a change of the case once more that others undid. What its first write
// answered stays its answer, but for objects that are created anew: release undoes what
// stood before the containment, not what stood in between. It is ErrReleased where the
// change was undone by irkit meanwhile.
func (l later) restore(ctx context.Context, id string, layers map[string]quarantine.Layer, anew bool) error {
	return l.with(func(j *Journal, h History) error {
		stand, _ := apart(begun(h.Records))
		i := slices.IndexFunc(stand, func(d quarantine.Done) bool { return d.Change.ID == id })
		if i < 0 || h.Released() {
			return fmt.Errorf("put change %s back: %w", id, ErrReleased)
		}
		was := stand[i]
		layer := layers[was.Change.Layer]
		if layer == nil {
			return fmt.Errorf("put change %s back: layer %q is not known here", id, was.Change.Layer)
		}
		_, err := j.again(ctx, was.Change, func(ctx context.Context) (json.RawMessage, error) {
			if anew { // an object that someone changed is made again
				if _, err := layer.Release(ctx, was.Made()); err != nil {
					return nil, err
				}
			}
			r, err := layer.Apply(ctx, was.Change)
			if err != nil || was.Change.Op != evidence.OpCreate {
				return was.Data, err
			}
			return json.Marshal(r)
		})
		return err
	})
}

// again makes a change that the log says was made.
func (j *Journal) again(ctx context.Context, c evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	j.mu.Lock()
	delete(j.did, c.ID)
	j.mu.Unlock()
	return j.Do(ctx, c, act)
}
