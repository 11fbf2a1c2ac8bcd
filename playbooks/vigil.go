package playbooks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/quarantine"
)

// Vigil is how a containment is watched.
type Vigil struct {
	Every time.Duration // between two measurements
	For   time.Duration // 0: until ctx ends
	Probe bool          // with a probe pod, so that inbound is measured
	Only  bool          // tell, and put nothing back
	// Tell hears of each measurement, from one goroutine.
	Tell func(Sight)
}

// Sight is one measurement of a vigil.
type Sight struct {
	At      time.Time        `json:"at"`
	Verdict evidence.Verdict `json:"verdict"`
	Changed bool             `json:"changed"` // the state is not that of the sight before
	// Restored says what was put back since the sight before, Faults what could not be done.
	Restored []string `json:"restored,omitempty"`
	Faults   []string `json:"faults,omitempty"`
}

// glance is how often the marks and the cut are looked at; a measurement takes longer, and
// lets more packets out.
const glance = time.Second

// pinholesEvery is how often the policy alone is measured, through holes in the cut.
const pinholesEvery = time.Minute

// patience is how often one change is put back before it is left to a person.
const patience = 20

// Watch measures a contained pod again and again, tells what it saw, and puts back what
// others take away, each as a custody record of the case. It ends without an error when
// the vigil's time is over, ctx ends, or the case is released (then with ErrReleased); the
// verdict is the last one. A case that is not sealed is ErrUnsealed.
func (e *Engine) Watch(ctx context.Context, caseID string, v Vigil) (evidence.Verdict, error) {
	w := &watching{Engine: e, Vigil: v, later: later{e, caseID}, tries: map[string]int{}}
	if err := w.open(ctx); err != nil {
		return w.verdict, err
	}
	defer w.close(ctx)
	if v.For > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, v.For)
		defer done()
	}
	err := w.run(ctx)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return w.verdict, nil
	}
	return w.verdict, err
}

// watching is one run of a vigil.
type watching struct {
	*Engine
	Vigil
	later   later
	history History
	scene   quarantine.Scene
	scened  time.Time
	inside  Hand
	outside Hand
	hands   *Hands // owns outside
	guard   *Guard
	layers  map[string]quarantine.Layer
	before  *Watch // of the measurement before
	holed   time.Time

	verdict  evidence.Verdict
	told     evidence.State
	recorded evidence.State
	tries    map[string]int
	restored []string
	faults   []string
}

func (w *watching) open(ctx context.Context) error {
	var err error
	if w.history, err = w.Cases.History(w.later.caseID); err != nil {
		return err
	}
	if last, any := w.history.Last(); !any || !last.Sealed {
		return fmt.Errorf("watch case %s: %w", w.later.caseID, ErrUnsealed)
	}
	if w.history.Released() {
		return fmt.Errorf("watch case %s: %w", w.later.caseID, ErrReleased)
	}
	if err := w.survey(ctx); err != nil {
		return err
	}
	key, err := readKey(w.history.Dir)
	if err != nil {
		return err
	}
	order := Order{Case: w.history.Case, Target: w.history.Target, Pod: &w.scene.Pod}
	w.history.HandOf(&order)
	w.hands = w.Engine.hands(order, key, w.later)
	if w.inside, err = w.standing(ctx, w.history, &w.scene.Pod); err != nil || w.inside == nil {
		w.Progress("no hand beside the target answers (%v): the cut stands by itself, and is not measured", err)
	}
	if w.Probe {
		if w.outside, err = w.hands.Probe(ctx); err != nil {
			w.Progress("no probe pod: %v", err)
			w.outside = nil
		}
	}
	w.guard = &Guard{Conn: w.Conn, Target: w.history.Target, Notes: w.later, Now: w.Now, Progress: w.Progress, Restarts: w.history.restarts()}
	w.guard.recall(w.history.Records)
	w.layers = w.Engine.layers(w, quarantine.Want{Case: w.history.Case, Sign: w.sign}, nil)
	return nil
}

// survey reads the scene again, once a minute.
func (w *watching) survey(ctx context.Context) error {
	if !w.scened.IsZero() && w.Now().Sub(w.scened) < pinholesEvery {
		return nil
	}
	scene, err := quarantine.Survey(ctx, w.Conn, w.history.Target)
	if err == nil {
		w.scene, w.scened = scene, w.Now()
	}
	return err
}

func (w *watching) close(ctx context.Context) {
	ctx, done := detached(ctx, time.Minute)
	defer done()
	if w.inside != nil {
		_ = w.inside.Close(ctx, false) // it stays, with the cut
	}
	if err := w.hands.Close(ctx, true); err != nil {
		w.Progress("take the probe pod away: %v", err)
	}
	if err := w.later.rest(ctx); err != nil {
		w.Progress("%v", err)
	}
}

func (w *watching) run(ctx context.Context) error {
	next := time.Time{}
	for {
		fresh, err := w.look(ctx)
		if err != nil {
			return err
		}
		if now := w.Now(); fresh || !now.Before(next) {
			next = now.Add(w.Every)
			if err := w.measure(ctx); err != nil {
				return err
			}
		}
		t := time.NewTimer(min(glance, w.Every))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// look reads marks and cut, and puts back what others took. fresh says that there was
// something.
func (w *watching) look(ctx context.Context) (fresh bool, err error) {
	h, err := w.Cases.History(w.later.caseID)
	if err != nil {
		w.fault("read the case", err)
	} else if w.history = h; h.Released() {
		return false, fmt.Errorf("watch case %s: %w", h.Case, ErrReleased)
	}
	watch, err := w.watch()
	if err != nil {
		return false, err
	}
	if w.inside != nil {
		if err := watch.Glance(ctx, w.inside); err != nil {
			w.lost(ctx, err)
		}
	}
	stand, _ := apart(begun(w.history.Records))
	disturbed, err := w.guard.Look(ctx, stand, watch)
	switch {
	case errors.Is(err, cluster.ErrReplaced), ctx.Err() != nil:
		return false, err
	case err != nil && !w.busy(err):
		w.fault("look at the marks", err)
	}
	w.before = watch
	return w.putBack(ctx, watch, stand, disturbed), nil
}

// watch is a series that goes on from the one before: with what the opening move and the
// last tries through pinholes saw.
func (w *watching) watch() (*Watch, error) {
	if w.before != nil {
		return w.before.next(w.scene), nil
	}
	watch := NewWatch(w.scene, w.later.caseID, w.Now())
	watch.Recall(w.history.Records)
	return watch, nil
}

// lost says that the hand no longer answers, and lets another attempt be made.
func (w *watching) lost(ctx context.Context, err error) {
	w.fault("ask the hand", err)
	if errors.Is(err, agent.ErrGone) {
		_ = w.inside.Close(ctx, false)
		w.inside = nil
	}
}

func (w *watching) fault(what string, err error) {
	text := what + ": " + err.Error()
	if !slices.Contains(w.faults, text) {
		w.faults = append(w.faults, text)
	}
}

// busy: another irkit holds the case; what is to be written waits for the next look.
func (w *watching) busy(err error) bool {
	var held *custody.HeldError
	return errors.As(err, &held) || errors.Is(err, ErrUnsealed)
}

// measure makes one whole measurement and tells it.
func (w *watching) measure(ctx context.Context) error {
	if err := w.survey(ctx); err != nil && !errors.Is(err, cluster.ErrReplaced) {
		w.fault("survey", err)
	} else if err != nil {
		return err
	}
	watch := w.before.next(w.scene)
	if holes := w.Now().Sub(w.holed) >= pinholesEvery; holes {
		w.holed = w.Now()
	} else {
		watch.SkipPinholes()
	}
	var from []netip.Addr
	if w.outside != nil {
		from = w.outside.Info().Addrs
	}
	targets := quarantine.Probes(w.scene).Listening(w.scene, watch.Measurements().FlowsBefore)
	if err := watch.Round(ctx, asHand(w.inside), asHand(w.outside), from, targets); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.fault("measure", err)
	}
	w.before = watch
	w.verdict = watch.Judge(w.Now())
	s := Sight{At: w.Now(), Verdict: w.verdict, Changed: w.verdict.State != w.told, Restored: w.restored, Faults: w.faults}
	w.told, w.restored, w.faults = w.verdict.State, nil, nil
	if w.verdict.State != w.recorded {
		if err := w.later.with(func(j *Journal, _ History) error { return j.Measured(ctx, w.verdict) }); err == nil {
			w.recorded = w.verdict.State
		} else if !w.busy(err) {
			s.Faults = append(s.Faults, "record the verdict: "+err.Error())
		}
	}
	w.Tell(s)
	return nil
}

// asHand keeps a hand that is not there from becoming one that is not nil.
func asHand(h Hand) agent.Hand {
	if h == nil {
		return nil
	}
	return h
}
