package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/revoke"
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
	// Actor stands in every record; nil where the first record of the run says it.
	Actor *evidence.Actor
	// Room is asked for when the disk is full, once it is the log itself that finds no
	// place; nil: there is none to give.
	Room func() error

	mu   sync.Mutex
	did  map[string]json.RawMessage
	said map[string]*sync.Mutex // one write of a change at a time
	told *sync.Map              // audit IDs that stand in the log; one with the journal that releases
}

// NewJournal continues a log whose earlier records are given.
func NewJournal(log Log, earlier []evidence.Record, audit func(context.Context) (context.Context, func() []string)) *Journal {
	told := &sync.Map{}
	for _, r := range earlier {
		for _, id := range r.AuditIDs {
			told.Store(id, true)
		}
	}
	return &Journal{
		told: told, log: log, audit: audit, action: evidence.ActIsolated,
		did: StandingChanges(earlier), said: map[string]*sync.Mutex{},
	}
}

// untouchedKey marks a failed record of a write that surely was not made.
const untouchedKey = "untouched"

// answerKey is where a did record keeps what its write answered.
const answerKey = "answer"

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
	if errors.Is(err, quarantine.ErrForeign) {
		r.Data = map[string]any{untouchedKey: true}
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
	if r.Actor == nil {
		r.Actor = j.Actor
	}
	_, _, err := j.log.Append(ctx, r)
	if err != nil && errors.Is(err, syscall.ENOSPC) && j.Room != nil {
		if room := j.Room(); room != nil {
			return errors.Join(err, room)
		}
		_, _, err = j.log.Append(ctx, r)
	}
	if err == nil {
		for _, id := range r.AuditIDs {
			j.told.Store(id, true)
		}
	}
	return err
}

// Rest writes the Audit-IDs of those requests that no record of a change has: the streams
// to our own processes. It writes nothing where there are none, and so is safe to call
// twice.
func (j *Journal) Rest(ctx context.Context, sent []string) error {
	rest := slices.DeleteFunc(slices.Clone(sent), func(id string) bool {
		_, told := j.told.Load(id)
		return told
	})
	if len(rest) == 0 {
		return nil
	}
	r := evidence.Record{Action: evidence.ActRequested, Result: "ok", AuditIDs: rest, Note: "requests that are part of no change: streams to irkit's own processes"}
	if err := j.Note(ctx, r); err != nil {
		return fmt.Errorf("record the requests of the run: %w", err)
	}
	return nil
}

// Measured writes a verdict. It is the session's word on what was seen, and so is written
// after an interrupt, too. faults say what could not be measured.
func (j *Journal) Measured(ctx context.Context, v evidence.Verdict, faults ...error) error {
	r := evidence.Record{Action: evidence.ActMeasured, Result: string(v.State), Note: strings.Join(v.Why, "; "), Data: measuredData(v)}
	for _, err := range faults {
		if err != nil {
			r.Errors = append(r.Errors, err.Error())
		}
	}
	return j.Note(context.WithoutCancel(ctx), r)
}

// collectorKey is where a captured record names the collector.
const collectorKey = "collector"

// Captured writes that a collector ended: with all that it gives when err is nil and nothing
// is missing. A session that goes on does not ask such a one again.
func (j *Journal) Captured(ctx context.Context, collector string, entries, missing int, err error) error {
	r := evidence.Record{Action: evidence.ActCaptured, Result: "ok", Data: map[string]any{collectorKey: collector, "entries": entries, "missing": missing}}
	switch {
	case err != nil:
		r.Action, r.Result, r.Errors = evidence.ActCaptureFailed, "failed", []string{err.Error()}
	case missing > 0:
		r.Result = "partial"
	}
	return j.Note(context.WithoutCancel(ctx), r)
}

func (j *Journal) actionOf(c evidence.Change) evidence.Action {
	switch {
	case j.action == evidence.ActReleased:
		return evidence.ActReleased
	case c.Layer == "hand" || c.Layer == "probe":
		return evidence.ActHand
	case revoke.Is(c.Layer):
		return evidence.ActRevoked
	case c.Layer == csi.Layer:
		return evidence.ActSnapshot
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
