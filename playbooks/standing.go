package playbooks

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// What a custody log tells of the changes it records. A session may have been ended at
// any record, so an intend alone says: perhaps.

// StandingChanges are the changes that surely stand, by ID, with what their write
// answered: made, and their undoing not so much as begun since.
func StandingChanges(records []evidence.Record) map[string]json.RawMessage {
	did := map[string]json.RawMessage{}
	for _, r := range records {
		switch {
		case r.Change == nil:
		case r.Action == evidence.ActReleased && r.Phase == evidence.Intend:
			id, _ := undoneBy(r.Change.ID)
			delete(did, id)
		case r.Action != evidence.ActReleased && r.Phase == evidence.Did:
			did[r.Change.ID] = answerOf(r)
		}
	}
	return did
}

// begun are the containment changes that stand or may stand: those with an intend
// that were not released as a whole since, with what their write answered.
func begun(records []evidence.Record) []quarantine.Done {
	var order []string
	open := map[string]*opened{}
	for _, r := range records {
		if r.Change == nil || r.Action == evidence.ActHand || r.Action == evidence.ActSnapshot {
			continue
		}
		id := r.Change.ID
		if r.Action == evidence.ActReleased {
			of, _ := undoneBy(id)
			if o := open[of]; o != nil && o.undone(id, r.Phase) {
				delete(open, of)
			}
			continue
		}
		o := open[id]
		if o == nil {
			order = append(order, id)
			o = &opened{Done: quarantine.Done{Change: *r.Change}}
			open[id] = o
		}
		o.undo = nil // begun again: so is what undoes it
		if r.Phase == evidence.Intend {
			o.begun++
		}
		// A try before this one may have been made.
		if sure, _ := r.Data[untouchedKey].(bool); sure && r.Phase == evidence.FailedP && o.begun == 1 {
			delete(open, id)
			order = slices.DeleteFunc(order, func(o string) bool { return o == id })
			continue
		}
		if r.Phase == evidence.Did {
			o.Done = quarantine.Done{Change: *r.Change, Data: answerOf(r)}
		}
	}
	var out []quarantine.Done
	for _, id := range order {
		if o := open[id]; o != nil {
			out = append(out, o.Done)
			delete(open, id)
		}
	}
	return out
}

// opened is a change that was begun, with the writes that began to undo it: true for those
// that did.
type opened struct {
	quarantine.Done
	begun int // how often
	undo  map[string]bool
}

// undone notes a record of a write that undoes the change, and says whether all is undone:
// the last one did, and none before it is without its did.
func (o *opened) undone(id string, p evidence.Phase) bool {
	if o.undo == nil {
		o.undo = map[string]bool{}
	}
	o.undo[id] = o.undo[id] || p == evidence.Did
	last := false
	for id, did := range o.undo {
		if !did {
			return false
		}
		_, whole := undoneBy(id)
		last = last || whole
	}
	return last
}

// capturedIn are the collectors that gave all they have to a bundle.
func capturedIn(records []evidence.Record, bundle string) map[string]bool {
	whole := map[string]bool{}
	for _, r := range records {
		if name, ok := r.Data[collectorKey].(string); ok && r.Bundle == bundle && r.Action == evidence.ActCaptured {
			whole[name] = r.Result == "ok"
		}
	}
	return whole
}

// Releasing is the same journal for the writes that undo: a change is released once,
// and its did record is of the action released. A change that was begun again since may
// stand again, and so every step of its undoing is to be made again.
func (j *Journal) Releasing(earlier []evidence.Record) *Journal {
	undone := map[string]json.RawMessage{}
	for _, r := range earlier {
		switch {
		case r.Change == nil:
		case r.Action == evidence.ActReleased && r.Phase == evidence.Did:
			undone[r.Change.ID] = answerOf(r)
		case r.Action != evidence.ActReleased:
			for id := range undone {
				if of, _ := undoneBy(id); of == r.Change.ID {
					delete(undone, id)
				}
			}
		}
	}
	return &Journal{
		told: j.told,
		log:  j.log, audit: j.audit, Actor: j.Actor, Room: j.Room, action: evidence.ActReleased,
		did: undone, said: map[string]*sync.Mutex{},
	}
}

// The write that undoes a change has an ID made of the change's. Where that takes several
// writes, all but the last have a number behind.
const (
	undoPrefix = "release:"
	undoPart   = "#"
)

// undoneBy is the ID of the change that a write of action released undoes, and whether the
// change is undone with it.
func undoneBy(id string) (of string, whole bool) {
	of, _, part := strings.Cut(strings.TrimPrefix(id, undoPrefix), undoPart)
	return of, !part
}
