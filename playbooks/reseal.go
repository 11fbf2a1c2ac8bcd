package playbooks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
)

// Reseal seals the bundle that a session of this case left open, with what is in it.
// Without one it does nothing. It needs no cluster.
func (e *Engine) Reseal(ctx context.Context, caseID string) (digest evidence.Digest, err error) {
	dir := e.Cases.Dir(caseID)
	lock, err := custody.LockCase(dir)
	if err != nil {
		return digest, err
	}
	defer lock.Unlock()
	h, err := e.Cases.History(caseID)
	if err != nil {
		return digest, err
	}
	last, any := h.Last()
	if !any || last.Sealed {
		return digest, nil
	}
	return e.sealLeft(ctx, h, last)
}

// sealLeft seals the open bundle of a case that is locked.
func (e *Engine) sealLeft(ctx context.Context, h History, last Bag) (digest evidence.Digest, err error) {
	w, err := bag.Open(ctx, h.Dir, last.ID, bag.Options{Clock: e.Now})
	if err != nil {
		return digest, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	log, err := custody.Open(ctx, w.Root(), evidence.CustodyJSONL, custody.Options{Bundle: last.ID, Case: h.Case, Clock: e.Now})
	if err != nil {
		return digest, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	journal := NewJournal(log, h.Records, cluster.WithAudit)
	journal.Actor = &e.Actor
	journal.Room = w.FreeReserve
	if err := journal.Note(ctx, evidence.Record{Action: evidence.ActRecovered, Actor: &e.Actor, Tool: &e.Tool, Note: "the session ended before it sealed; sealed now with what is here"}); err != nil {
		return digest, err
	}
	return e.sealBag(ctx, w, journal, log, h.Case, h.Target)
}

// sealBag ends a bundle: no more artifacts, what the disk holds compared with what
// arrived, the last record, and the signature.
func (e *Engine) sealBag(ctx context.Context, w *bag.Writer, journal *Journal, log *custody.Log, caseID string, t evidence.Target) (evidence.Digest, error) {
	var none evidence.Digest
	if err := freeze(ctx, w, journal); err != nil {
		return none, err
	}
	r := evidence.Record{Action: evidence.ActSealed, Target: &t, Actor: &e.Actor, Result: "ok",
		Note: fmt.Sprintf("%d entries; the signature follows this record", len(w.Entries()))}
	if err := journal.Note(ctx, r); err != nil {
		return none, err
	}
	if err := log.Close(); err != nil {
		return none, err
	}
	sealed, err := w.Seal(ctx, e.Signer, bag.Info{
		Case: caseID, Software: e.Tool.Name + " " + e.Tool.Version, Principal: e.principal(),
		ContactName: e.Actor.Name, Description: "evidence of pod " + t.String() + ", uid " + t.UID,
		Earlier: log.Records()[0].Earlier, // a log that holds the record above is not empty
	})
	return sealed.Digest, err
}

// freeze compares what the disk holds with what arrived. A file that changed on this
// machine in between is told in custody and in its entry, and does not keep the seal away.
func freeze(ctx context.Context, w *bag.Writer, journal *Journal) error {
	_, err := w.Freeze(ctx)
	var changed *bag.ChangedError
	if errors.As(err, &changed) {
		if err := journal.Note(ctx, evidence.Record{Action: evidence.ActRecovered, Result: "partial", Errors: []string{changed.Error()}, Note: "the disk does not hold what arrived"}); err != nil {
			return err
		}
		if err := w.Amend(ctx, changed); err != nil {
			return err
		}
		_, err = w.Freeze(ctx)
	}
	if err != nil {
		return err
	}
	return noteRecovered(ctx, w, journal)
}

// noteRecovered tells in custody what the bag had to set aside or to file after a crash.
func noteRecovered(ctx context.Context, w *bag.Writer, journal *Journal) error {
	for _, told := range w.Recovered() {
		if err := journal.Note(ctx, evidence.Record{Action: evidence.ActRecovered, Note: told}); err != nil {
			return err
		}
	}
	return nil
}

// sign makes the signature that stands beside the undo data on the target.
func (e *Engine) sign(message []byte) (string, error) {
	b, err := seal.Sign(e.Signer, evidence.UndoNamespace, message)
	return string(b), err
}

// principal names the signer in allowed_signers.
func (e *Engine) principal() string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '@', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, e.Actor.Name+"@"+e.Actor.Host)
}
