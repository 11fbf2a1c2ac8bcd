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
	"testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
}

// answering is a write that answers its own name.
func answering(made func(string), id string) func(context.Context) (json.RawMessage, error) {
	return func(context.Context) (json.RawMessage, error) {
		if made != nil {
			made(id)
		}
		return json.Marshal("made " + id)
	}
}

func phases(records []evidence.Record) []string {
	var out []string
	for _, r := range records {
		if r.Change != nil {
			out = append(out, string(r.Phase)+" "+r.Change.ID)
		}
	}
	return out
}

func TestWhatIsIntendedIsOnDiskBeforeItIsDone(t *testing.T) {
	dir := t.TempDir()
	j := NewJournal(newLog(t, dir), nil, cluster.WithAudit)
	acted := false
	answer, err := j.Do(t.Context(), change("a"), func(context.Context) (json.RawMessage, error) {
		acted = true
		last := readLog(t, dir)
		if got := phases(last); !slices.Equal(got, []string{"intend a"}) {
			t.Errorf("on disk while acting: %q", got)
		} else if c := last[0].Change; c.Why != "make a" || c.Object.Name != "a" {
			t.Errorf("the intend does not hold the whole change: %+v", c)
		}
		return json.RawMessage(`{"uid":"u"}`), nil
	})
	if err != nil || !acted || string(answer) != `{"uid":"u"}` {
		t.Fatalf("%s, %v", answer, err)
	}
	records := readLog(t, dir)
	if got := phases(records); !slices.Equal(got, []string{"intend a", "did a"}) || records[1].Result != "ok" {
		t.Errorf("after: %q, %+v", got, records[1])
	}
	if got := string(StandingChanges(records)["a"]); got != `{"uid":"u"}` {
		t.Errorf("what the write answered comes back as %s", got)
	}
}

func TestAFailureIsRecordedAndMayBeTriedAgain(t *testing.T) {
	dir := t.TempDir()
	j := NewJournal(newLog(t, dir), nil, cluster.WithAudit)
	wrong := errors.New("admission says no")
	if _, err := j.Do(t.Context(), change("a"), func(context.Context) (json.RawMessage, error) { return nil, wrong }); !errors.Is(err, wrong) {
		t.Fatalf("%v", err)
	}
	if _, err := j.Do(t.Context(), change("a"), answering(nil, "a")); err != nil {
		t.Fatal(err)
	}
	records := readLog(t, dir)
	if got := phases(records); !slices.Equal(got, []string{"intend a", "failed a", "intend a", "did a"}) {
		t.Fatalf("%q", got)
	}
	if r := records[1]; r.Result != "failed" || len(r.Errors) != 1 || !strings.Contains(r.Errors[0], "admission says no") {
		t.Errorf("%+v", r)
	}
}

func TestWhatStandsIsNotMadeAgainAndWhatWasReleasedIs(t *testing.T) {
	log := newLog(t, t.TempDir())
	var made []string
	do := func(j *Journal, id string) string {
		t.Helper()
		answer, err := j.Do(t.Context(), change(id), answering(func(id string) { made = append(made, id) }, id))
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	first := NewJournal(log, nil, cluster.WithAudit)
	do(first, "a")
	if again := NewJournal(log, log.Records(), cluster.WithAudit); do(again, "a") != `"made a"` || len(made) != 1 {
		t.Fatalf("made %q, want a once and its answer kept", made)
	}
	releasing := first.Releasing(log.Records())
	do(releasing, undoPrefix+"a"+undoPart+"1")
	do(releasing, undoPrefix+"a")
	if twice := first.Releasing(log.Records()); do(twice, undoPrefix+"a") == "" || len(made) != 3 {
		t.Fatalf("made %q: a release is made once", made)
	}
	for _, r := range log.Records()[2:] {
		if r.Action != evidence.ActReleased {
			t.Errorf("the undoing write is recorded as %s", r.Action)
		}
	}
	do(NewJournal(log, log.Records(), cluster.WithAudit), "a")
	if len(made) != 4 {
		t.Fatalf("made %q: a released change is made again", made)
	}
	// A change whose ID only begins like it does not bring the release of the other back.
	do(NewJournal(log, log.Records(), cluster.WithAudit), "ab")
	again := first.Releasing(log.Records())
	do(again, undoPrefix+"a"+undoPart+"1")
	do(again, undoPrefix+"a")
	if want := []string{"a", "release:a#1", "release:a", "a", "ab", "release:a#1", "release:a"}; !slices.Equal(made, want) {
		t.Errorf("made %q, want %q", made, want)
	}
	do(NewJournal(log, log.Records(), cluster.WithAudit), "ab")
	do(first.Releasing(log.Records()), undoPrefix+"a")
	if len(made) != 7 {
		t.Errorf("made %q: ab brought the release of a back", made[7:])
	}
}

func TestManyAskForOneChangeAndOneMakesIt(t *testing.T) {
	log := newLog(t, t.TempDir())
	j := NewJournal(log, nil, cluster.WithAudit)
	var made sync.Map
	var all sync.WaitGroup
	for i := range 24 {
		id := fmt.Sprintf("c%d", i%3)
		all.Go(func() {
			answer, err := j.Do(t.Context(), change(id), func(context.Context) (json.RawMessage, error) {
				if _, there := made.LoadOrStore(id, true); there {
					t.Errorf("%s is made twice", id)
				}
				return json.Marshal("made " + id)
			})
			if err != nil || string(answer) != `"made `+id+`"` {
				t.Errorf("%s: %s, %v", id, answer, err)
			}
		})
	}
	all.Wait()
	if got := phases(log.Records()); len(got) != 6 {
		t.Errorf("recorded %q", got)
	}
}

func TestACancelledOrderRecordsAndDoesNothing(t *testing.T) {
	log := newLog(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := NewJournal(log, nil, cluster.WithAudit).Do(ctx, change("a"), func(context.Context) (json.RawMessage, error) {
		t.Error("done")
		return nil, nil
	})
	if !errors.Is(err, context.Canceled) || len(log.Records()) != 0 {
		t.Errorf("%v, %q", err, phases(log.Records()))
	}
}

// A write that the interrupt catches in the middle is answered all the same.
func TestAnInterruptInTheMiddleOfAWriteIsRecorded(t *testing.T) {
	log := newLog(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	_, err := NewJournal(log, nil, cluster.WithAudit).Do(ctx, change("a"), func(ctx context.Context) (json.RawMessage, error) {
		stop()
		return nil, ctx.Err()
	})
	if got := phases(log.Records()); !errors.Is(err, context.Canceled) || !slices.Equal(got, []string{"intend a", "failed a"}) {
		t.Errorf("%v, %q", err, got)
	}
}

// broken is a log that answers errors, in order, and then works.
type broken struct {
	Log
	errs []error
}

func (b *broken) Append(ctx context.Context, r evidence.Record) (evidence.Record, evidence.Digest, error) {
	if len(b.errs) > 0 {
		err := b.errs[0]
		b.errs = b.errs[1:]
		if err != nil {
			return r, evidence.Digest{}, err
		}
	}
	return b.Log.Append(ctx, r)
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	wrong := errors.New("read-only file system")
	log := newLog(t, t.TempDir())
	_, err := NewJournal(&broken{log, []error{wrong}}, nil, cluster.WithAudit).Do(t.Context(), change("a"), func(context.Context) (json.RawMessage, error) {
		t.Error("done")
		return nil, nil
	})
	if !errors.Is(err, wrong) || !strings.Contains(err.Error(), "not done") || len(log.Records()) != 0 {
		t.Errorf("%v, %q", err, phases(log.Records()))
	}
}

// What was done and could not be recorded is an error, and not done twice by this session.
func TestADeedThatCannotBeRecordedIsNotDoneTwice(t *testing.T) {
	wrong := errors.New("read-only file system")
	log, made := newLog(t, t.TempDir()), 0
	j := NewJournal(&broken{log, []error{nil, wrong}}, nil, cluster.WithAudit)
	act := answering(func(string) { made++ }, "a")
	if _, err := j.Do(t.Context(), change("a"), act); !errors.Is(err, wrong) {
		t.Errorf("%v", err)
	}
	if answer, err := j.Do(t.Context(), change("a"), act); err != nil || made != 1 || string(answer) != `"made a"` {
		t.Errorf("made %d times: %s, %v", made, answer, err)
	}
	if done := begun(log.Records()); len(done) != 1 || done[0].Data != nil {
		t.Errorf("for the next session it may stand: %+v", done)
	}
}

func TestAFullDiskIsGivenTheRoomThatIsReserved(t *testing.T) {
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	log, asked := newLog(t, t.TempDir()), 0
	j := NewJournal(&broken{log, []error{full}}, nil, cluster.WithAudit)
	j.Room = func() error { asked++; return nil }
	if _, err := j.Do(t.Context(), change("a"), answering(nil, "a")); err != nil || asked != 1 {
		t.Fatalf("%v, asked %d times", err, asked)
	}
	if got := phases(log.Records()); !slices.Equal(got, []string{"intend a", "did a"}) {
		t.Errorf("%q", got)
	}
	none := errors.New("nothing reserved")
	j = NewJournal(&broken{log, []error{full}}, nil, cluster.WithAudit)
	j.Room = func() error { return none }
	if err := j.Note(t.Context(), evidence.Record{Action: evidence.ActStep}); !errors.Is(err, none) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	// Still full after that: it is said, once.
	j = NewJournal(&broken{log, []error{full, full}}, nil, cluster.WithAudit)
	j.Room = func() error { return nil }
	if err := j.Note(t.Context(), evidence.Record{Action: evidence.ActStep}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestHandsAndProbesAreNoIsolation(t *testing.T) {
	log := newLog(t, t.TempDir())
	j := NewJournal(log, nil, func(ctx context.Context) (context.Context, func() []string) {
		return ctx, func() []string { return []string{"audit-1"} }
	})
	for _, layer := range []string{"hand", "probe", "netpol"} {
		c := change(layer)
		c.Layer = layer
		if _, err := j.Do(t.Context(), c, answering(nil, layer)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range log.Records() {
		got = append(got, string(r.Action))
		if (r.Phase == evidence.Did) != slices.Equal(r.AuditIDs, []string{"audit-1"}) {
			t.Errorf("%s %s has audit ids %q", r.Phase, r.Change.ID, r.AuditIDs)
		}
	}
	if want := []string{"hand", "hand", "hand", "hand", "isolated", "isolated"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if done := begun(log.Records()); len(done) != 1 || done[0].Change.ID != "netpol" {
		t.Errorf("to be released: %+v", done)
	}
}
