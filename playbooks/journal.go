package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"irkit.dev/irkit/evidence"
)

// Log is the custody log that a journal writes: custody.Log while the bag is open,
// its continuation after the seal. Append has synced to disk when it returns.
type Log interface {
	Append(ctx context.Context, r evidence.Record) (evidence.Record, evidence.Digest, error)
}

// Journal is the session's Recorder. It is the only writer of the custody log.
type Journal struct {
	log Log
	// audit gives a context under which requests are counted, and the audit IDs of
	// those that were made.
	audit  func(context.Context) (context.Context, func() []string)
	action evidence.Action // of the writes; ActReleased while releasing
	stamp  func(*evidence.Record)
	// Room is asked for when the disk is full, once it is the log itself that finds no
	// place; nil: there is none to give.
	Room func() error

	mu   sync.Mutex
	did  map[string]json.RawMessage
	said map[string]*sync.Mutex // one write of a change at a time
}

// NewJournal continues a log whose earlier records are given; stamp fills in what
// every record of the session carries.
func NewJournal(log Log, earlier []evidence.Record, audit func(context.Context) (context.Context, func() []string), stamp func(*evidence.Record)) *Journal {
	return &Journal{
		log: log, audit: audit, stamp: stamp, action: evidence.ActIsolated,
		did: StandingChanges(earlier), said: map[string]*sync.Mutex{},
	}
}

// StandingChanges are the changes that were made and not released since, by ID, with what
// their write answered.
func StandingChanges(records []evidence.Record) map[string]json.RawMessage {
	did := map[string]json.RawMessage{}
	for _, r := range records {
		if r.Change == nil || r.Phase != evidence.Did {
			continue
		}
		if r.Action == evidence.ActReleased {
			delete(did, strings.TrimPrefix(r.Change.ID, releasePrefix))
			continue
		}
		did[r.Change.ID] = answerOf(r)
	}
	return did
}

// Releasing is the same journal for the writes that undo: a change is released once,
// and its did record is of the action released.
func (j *Journal) Releasing(earlier []evidence.Record) *Journal {
	undone := map[string]json.RawMessage{}
	for _, r := range earlier {
		switch {
		case r.Change == nil || r.Phase != evidence.Did:
		case r.Action == evidence.ActReleased:
			undone[r.Change.ID] = answerOf(r)
		default: // made again since: so is every step of its undoing
			for id := range undone {
				if strings.HasPrefix(id, releasePrefix+r.Change.ID) {
					delete(undone, id)
				}
			}
		}
	}
	return &Journal{
		log: j.log, audit: j.audit, stamp: j.stamp, action: evidence.ActReleased,
		did: undone, said: map[string]*sync.Mutex{},
	}
}

const answerKey = "answer"

// releasePrefix makes the ID of the write that undoes a change out of the change's.
const releasePrefix = "release:"

func answerOf(r evidence.Record) json.RawMessage {
	v, there := r.Data[answerKey]
	if !there {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// Do implements evidence.Recorder.
func (j *Journal) Do(ctx context.Context, c evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	turn := j.turn(c.ID)
	turn.Lock()
	defer turn.Unlock()
	if answer, done := j.answer(c.ID); done {
		return answer, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := evidence.Record{Action: j.actionOf(c), Phase: evidence.Intend, Change: &c}
	if err := j.Note(ctx, r); err != nil {
		return nil, fmt.Errorf("%s: not done, since it cannot be recorded: %w", c.Why, err)
	}
	acting, ids := j.audit(ctx)
	answer, err := act(acting)
	r.AuditIDs = ids()
	r.Phase, r.Result = evidence.Did, "ok"
	if err != nil {
		r.Phase, r.Result, r.Errors = evidence.FailedP, "failed", []string{err.Error()}
	}
	if len(answer) > 0 {
		r.Data = map[string]any{answerKey: answer}
	}
	noted := j.Note(context.WithoutCancel(ctx), r)
	if err == nil {
		j.mu.Lock()
		j.did[c.ID] = answer
		j.mu.Unlock()
	}
	return answer, errors.Join(err, noted)
}

// Note writes a record that is no write, or one phase of a write.
func (j *Journal) Note(ctx context.Context, r evidence.Record) error {
	j.stamp(&r)
	_, _, err := j.log.Append(ctx, r)
	if err != nil && errors.Is(err, syscall.ENOSPC) && j.Room != nil {
		if room := j.Room(); room != nil {
			return errors.Join(err, room)
		}
		_, _, err = j.log.Append(ctx, r)
	}
	return err
}

func (j *Journal) actionOf(c evidence.Change) evidence.Action {
	switch {
	case j.action == evidence.ActReleased:
		return evidence.ActReleased
	case c.Layer == "hand" || c.Layer == "probe":
		return evidence.ActHand
	}
	return j.action
}

func (j *Journal) turn(id string) *sync.Mutex {
	j.mu.Lock()
	defer j.mu.Unlock()
	m, there := j.said[id]
	if !there {
		m = new(sync.Mutex)
		j.said[id] = m
	}
	return m
}

func (j *Journal) answer(id string) (json.RawMessage, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	answer, done := j.did[id]
	return answer, done
}
