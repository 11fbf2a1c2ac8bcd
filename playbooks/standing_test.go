package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// fate is a world of changes, each with one or two sides to it, and sessions that contain
// and release in it, that may fail anywhere and may be killed anywhere.
type fate struct {
	t       *testing.T
	dice    *rand.Rand
	records []evidence.Record
	stands  map[string]bool // sides of changes: netpol/1
	failing bool            // writes may fail
	deadly  bool            // the session may be killed
}

// killed is the panic of a session that is killed.
type killed struct{}

// sides of the changes of this world. An ID that begins like another is there on purpose.
func sides() map[string]int { return map[string]int{"netns": 1, "label": 2, "label-2": 1, "netpol": 1} }

func (f *fate) mayDie() {
	if f.deadly && f.dice.IntN(12) == 0 {
		panic(killed{})
	}
}

// Append implements Log. What the log tells must be true before and after each record.
func (f *fate) Append(_ context.Context, r evidence.Record) (evidence.Record, evidence.Digest, error) {
	f.check()
	f.mayDie()
	f.records = append(f.records, r)
	f.check()
	f.mayDie()
	return r, evidence.Digest{}, nil
}

// write is one write to the world: it may fail before its effect, and after it.
func (f *fate) write(effect func()) func(context.Context) (json.RawMessage, error) {
	return func(context.Context) (json.RawMessage, error) {
		f.mayDie()
		if f.failing && f.dice.IntN(8) == 0 {
			return nil, errors.New("refused")
		}
		effect()
		f.check()
		f.mayDie()
		if f.failing && f.dice.IntN(8) == 0 {
			return nil, errors.New("the answer was lost")
		}
		return json.RawMessage(`{}`), nil
	}
}

func (f *fate) contain() {
	j := NewJournal(f, f.records, cluster.WithAudit)
	for _, id := range slices.Sorted(maps.Keys(sides())) {
		_, _ = j.Do(f.t.Context(), change(id), f.write(func() {
			for i := range sides()[id] {
				f.stands[fmt.Sprintf("%s/%d", id, i)] = true
			}
		}))
	}
}

func (f *fate) release() {
	j := NewJournal(f, f.records, cluster.WithAudit).Releasing(f.records)
	for _, d := range begun(f.records) {
		for i := sides()[d.Change.ID] - 1; i >= 0; i-- {
			c := change(undoPrefix + d.Change.ID)
			if i > 0 {
				c.ID += fmt.Sprintf("%s%d", undoPart, i)
			}
			_, _ = j.Do(f.t.Context(), c, f.write(func() { delete(f.stands, fmt.Sprintf("%s/%d", d.Change.ID, i)) }))
		}
	}
}

// check: what may stand is told, and what is said to stand does.
func (f *fate) check() {
	var told []string
	for _, d := range begun(f.records) {
		told = append(told, d.Change.ID)
	}
	for id, n := range sides() {
		surely := 0
		for i := range n {
			if f.stands[fmt.Sprintf("%s/%d", id, i)] {
				surely++
			}
		}
		if surely > 0 && !slices.Contains(told, id) {
			f.t.Fatalf("%s stands, and the log does not tell: %q", id, phases(f.records))
		}
		if _, said := StandingChanges(f.records)[id]; said && surely < n {
			f.t.Fatalf("%s is said to stand, and does not: %q", id, phases(f.records))
		}
	}
}

func (f *fate) session(run func()) {
	defer func() {
		if r := recover(); r != nil && r != any(killed{}) {
			panic(r)
		}
	}()
	run()
}

func TestTheLogTellsWhatStandsWhateverHappened(t *testing.T) {
	for seed := range uint64(150) {
		f := &fate{t: t, dice: rand.New(rand.NewPCG(seed, 1)), stands: map[string]bool{}}
		for range 6 {
			f.failing, f.deadly = f.dice.IntN(2) == 0, f.dice.IntN(3) > 0
			run := f.contain
			if f.dice.IntN(2) == 0 {
				run = f.release
			}
			f.session(run)
		}
		f.failing, f.deadly = false, false
		f.contain()
		if want := 5; len(f.stands) != want {
			t.Fatalf("seed %d: a whole contain after it left %d of %d sides: %q", seed, len(f.stands), want, phases(f.records))
		}
		f.release()
		if left := begun(f.records); len(f.stands) != 0 || len(left) != 0 {
			t.Fatalf("seed %d: a whole release after it left %v, told %d: %q", seed, f.stands, len(left), phases(f.records))
		}
	}
}

func TestWhatIsReleasedIsInTheOrderInWhichItWasMade(t *testing.T) {
	f := &fate{t: t, dice: rand.New(rand.NewPCG(1, 1)), stands: map[string]bool{}}
	f.contain()
	var got []string
	for _, d := range begun(f.records) {
		got = append(got, d.Change.ID)
		if string(d.Data) != "{}" {
			t.Errorf("%s lost what its write answered: %q", d.Change.ID, d.Data)
		}
	}
	if want := slices.Sorted(maps.Keys(sides())); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
