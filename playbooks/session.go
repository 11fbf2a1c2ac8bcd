package playbooks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/quarantine"
)

// Result is what a session came to. It is set whenever a bag was opened, also when Run
// returns an error.
type Result struct {
	Case        string            `json:"case"`
	Bundle      string            `json:"bundle"` // the folder
	Seal        evidence.Digest   `json:"seal_sha256"`
	Verdict     *evidence.Verdict `json:"verdict,omitempty"`
	Failed      []string          `json:"failed"`  // steps that failed, with why
	Missing     int               `json:"missing"` // artifacts that could not be had whole
	Entries     int               `json:"entries"`
	Resumed     bool              `json:"resumed"`
	Interrupted bool              `json:"interrupted"`
	Receipt     string            `json:"receipt,omitempty"` // the file, when a store has it
	StoreError  string            `json:"store_error,omitempty"`
	Refused     string            `json:"refused,omitempty"` // another case was faster: nothing was written
	Report      string            `json:"report"`
}

// ErrOtherTarget refuses a case that is of another pod: nothing was changed.
var ErrOtherTarget = errors.New("case is of another pod")

// session is one run of a plan against one target.
type session struct {
	*Engine
	order  Order
	look   Prospect
	lock   *custody.Lock
	root   *os.Root // of the case folder
	bag    *bag.Writer
	log    *custody.Log
	site   *Site
	began  time.Time
	result Result
}

// Run carries an order out: it opens the case and the bag, or resumes the open one,
// runs every step, and seals what it has, whatever happened. Case folders take one
// session at a time. An error means that there is no sealed bundle; everything else is in
// the Result.
func (e *Engine) Run(ctx context.Context, o Order, look Prospect) (Result, error) {
	if look.Guard != "" {
		return Result{Case: o.Case}, fmt.Errorf("%w: %s", ErrProtected, look.Guard)
	}
	s := &session{Engine: e, order: o, look: look, began: e.Now(), result: Result{Case: o.Case}}
	if err := s.open(ctx); err != nil {
		return s.result, errors.Join(err, s.close())
	}
	s.steps(ctx)
	s.result.Interrupted = ctx.Err() != nil
	s.judge(ctx)
	err := s.finish(ctx)
	if err == nil && o.OpenStore != nil && !s.result.Interrupted {
		s.store(ctx)
	}
	return s.result, errors.Join(err, s.close())
}

// open takes the lock and opens the case's unsealed bag, or a new one.
func (s *session) open(ctx context.Context) error {
	dir := s.Cases.Dir(s.order.Case)
	lock, err := custody.LockCase(dir)
	if err != nil {
		return err
	}
	s.lock = lock
	if s.root, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("open case %s: %w", s.order.Case, err)
	}
	key, err := LoadKey(dir)
	if err != nil {
		return err
	}
	history, err := s.Cases.History(s.order.Case)
	if err != nil {
		return err
	}
	// A pod's UID is its own in every cluster; its node, and how the cluster is known to us,
	// may have come later.
	if was := history.Target; was.UID != "" && was.UID != s.order.Target.UID {
		return fmt.Errorf("go on with case %s for pod %s (uid %s): it is of %s (uid %s): %w",
			s.order.Case, s.order.Target, s.order.Target.UID, was, was.UID, ErrOtherTarget)
	}
	if err := s.openBag(ctx, history); err != nil {
		return err
	}
	s.result.Bundle = s.bag.Dir()
	journal := NewJournal(s.log, history.Records, cluster.WithAudit)
	journal.Room = s.bag.FreeReserve
	s.site = &Site{
		Conn: s.Conn, Look: s.look, Want: s.look.Want, Journal: journal, Key: key, Order: s.order, Now: s.Now, Progress: s.Progress,
		Watch: NewWatch(s.look.Scene, s.order.Case, s.began),
		have:  capturedIn(history.Records, s.bag.ID()),
	}
	s.site.Hands = s.hands(s.order, key, s.site.Gate.behind(journal))
	if nodePodLeft(history.Records) != "" {
		s.site.Hands.Leftover()
	}
	s.site.Watch.Recall(history.Records)
	s.site.Guard = s.guard(history, journal)
	s.site.Layers = s.layers(s.site.Hands, s.look.Want, s.look.Targets.Inside)
	return s.opened(ctx, journal)
}

// guard looks at what others do while the session runs, and remembers what was seen.
func (s *session) guard(h History, j *Journal) *Guard {
	g := &Guard{Conn: s.Conn, Target: s.order.Target, Notes: j, Now: s.Now, Progress: s.Progress, Restarts: h.restarts()}
	if g.Restarts == nil && s.order.Pod != nil {
		g.Restarts = quarantine.Restarts(s.order.Pod)
	}
	g.recall(h.Records)
	return g
}

func (s *session) openBag(ctx context.Context, h History) error {
	options := bag.Options{Clock: s.Now}
	last, any := h.Last()
	var err error
	if any && !last.Sealed {
		s.result.Resumed = true
		s.Progress("resuming bundle %s", last.ID)
		s.bag, err = bag.Open(ctx, s.Cases.Dir(s.order.Case), last.ID, options)
	} else {
		s.bag, err = bag.Create(ctx, s.Cases.Dir(s.order.Case), evidence.BundleID(s.order.Case, strings.ToLower(ulid.MustNew(ulid.Timestamp(s.Now()), rand.Reader).String())), options)
	}
	if err != nil {
		return err
	}
	logOptions := custody.Options{Bundle: s.bag.ID(), Case: s.order.Case, Clock: s.Now}
	if logOptions.Earlier, err = h.earlier(s.root); err != nil {
		return err
	}
	s.log, err = custody.Open(ctx, s.bag.Root(), evidence.CustodyJSONL, logOptions)
	return err
}

// opened writes who acts, on what ground, on what: the first record of every run.
func (s *session) opened(ctx context.Context, j *Journal) error {
	note := "playbook " + s.order.Plan.Name
	if s.result.Resumed {
		note += ", resumed"
	}
	r := evidence.Record{
		Action: evidence.ActOpened, Target: &s.order.Target, Actor: &s.Actor, Tool: &s.Tool, Authority: &s.order.Authority, Note: note,
		Data: s.order.openedData(),
	}
	if s.Conn.Op != "" {
		if r.Data == nil {
			r.Data = map[string]any{}
		}
		r.Data["op"] = s.Conn.Op
	}
	if err := j.Note(ctx, r); err != nil {
		return err
	}
	if s.order.Values {
		if err := j.Note(ctx, evidence.Record{Action: evidence.ActAuthorised, Note: "raw secret values: " + s.order.Justification}); err != nil {
			return err
		}
	}
	if s.order.Memory != "" {
		return j.Note(ctx, evidence.Record{Action: evidence.ActAuthorised, Note: "raw memory of the target's processes: " + s.order.Memory})
	}
	return nil
}

// steps runs the plan. What a failure means for the rest is the step's own word.
func (s *session) steps(ctx context.Context) {
	for i, step := range s.order.Plan.Steps {
		if ctx.Err() != nil {
			return
		}
		err := s.step(ctx, step, s.order.Plan.Blueprints[i])
		if refused := s.site.Gate.Refused(); refused != nil && len(begun(s.log.Records())) == 0 {
			s.result.Refused = refused.Error()
			return
		}
		if err != nil && step.OnFailure == Stop {
			s.Progress("step %s asks to stop after a failure", step.ID)
			return
		}
	}
}

func (s *session) step(ctx context.Context, step Step, b Blueprint) error {
	s.Progress("step %s", step.ID)
	if step.Timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, step.Timeout)
		defer done()
	}
	out, err := b.Build(s.site).Run(ctx, s.order.Target, s.bag)
	s.result.Missing += out.Missing
	r := evidence.Record{Action: evidence.ActStep, Step: step.ID, Result: "ok", Note: out.Summary}
	if err != nil {
		r.Result, r.Errors = "failed", []string{err.Error()}
		s.fail(fmt.Errorf("step %s: %w", step.ID, err))
	} else if out.Summary != "" {
		s.Progress("step %s: %s", step.ID, out.Summary)
	}
	if note := s.site.Journal.Note(context.WithoutCancel(ctx), r); note != nil {
		s.fail(fmt.Errorf("record step %s: %w", step.ID, note))
	}
	return err
}

// judge sees to it that whoever asked for isolation gets a verdict: where no step gave one,
// it is made of what was seen by then.
func (s *session) judge(ctx context.Context) {
	s.result.Verdict = s.site.Watch.Verdict()
	if s.result.Verdict != nil || len(s.look.Want.Layers) == 0 {
		return
	}
	v := s.site.Watch.Judge(s.Now())
	s.result.Verdict = &v
	if err := s.site.Journal.Measured(ctx, v); err != nil {
		s.fail(err)
	}
}

// fail notes what went wrong and does not end the session.
func (s *session) fail(err error) {
	s.result.Failed = append(s.result.Failed, err.Error())
	s.Progress("%v", err)
}

func (s *session) close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.bag != nil {
		errs = append(errs, s.bag.Close())
	}
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	return errors.Join(errs...)
}
