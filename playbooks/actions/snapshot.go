package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// How long a step waits for its snapshots: until each holds its point in time, or until the
// storage calls it ready (a cloud may upload for hours).
const (
	untilTaken = "taken"
	untilReady = "ready"
)

// snapshot has the storage take snapshots of the target's volumes. A later step of the
// same plan finds those that an earlier one took, and waits for them.
type snapshot struct {
	class  string
	until  string
	within time.Duration
}

func newSnapshot(with *yaml.Node) (playbooks.Blueprint, []playbooks.Fault) {
	f := playbooks.FieldsOf(with, "snapshot")
	s := snapshot{class: f.String("class"), until: f.Enum("until", untilTaken, untilReady), within: f.Duration("within")}
	if s.until == "" {
		s.until = untilReady
	}
	if s.within == 0 {
		s.within = 5 * time.Minute
	}
	return s, f.Rest()
}

func (s snapshot) Needs() playbooks.Needs {
	return playbooks.Needs{Snapshots: &playbooks.Snapshots{Class: s.class}}
}

func (s snapshot) Build(site *playbooks.Site) playbooks.Action {
	return snapping{snapshot: s, site: site, storage: csi.Cluster{Client: site.Conn.Client, Dynamic: site.Conn.Dynamic}}
}

type snapping struct {
	snapshot
	site    *playbooks.Site
	storage csi.Cluster
}

const volumeSnapshot = "volume-snapshot"

// Run takes all snapshots first, and then waits for them together.
func (s snapping) Run(ctx context.Context, t evidence.Target, sink evidence.Sink) (playbooks.Outcome, error) {
	var errs []error
	var made []shot
	missing := 0
	for i, v := range s.site.Look.Volumes {
		one := shot{volume: v, name: fmt.Sprintf("snapshot-%d", i), ordinal: "pod"}
		if s.site.Captured(one.name) {
			continue
		}
		if v.Why != "" {
			errs = append(errs, s.absent(ctx, sink, one, v.Why))
			if !v.Policy {
				missing++
			}
			continue
		}
		if err := s.take(ctx, t, &one); err != nil {
			missing++
			errs = append(errs, err, s.absent(ctx, sink, one, err.Error()))
			continue
		}
		made = append(made, one)
	}
	errs = append(errs, s.wait(ctx, made))
	ready := 0
	for _, one := range made {
		if one.taken.Taken.IsZero() {
			missing++
		}
		if one.taken.Ready {
			ready++
		}
		errs = append(errs, s.file(context.WithoutCancel(ctx), sink, one))
	}
	summary := fmt.Sprintf("%d of %d snapshots ready", ready, len(made))
	if len(s.site.Look.Volumes) == 0 {
		summary = "the pod has no volume that a snapshot could be had of"
	}
	return playbooks.Outcome{Summary: summary, Missing: missing}, errors.Join(errs...)
}

// shot is one snapshot on its way.
type shot struct {
	volume  csi.Volume
	name    string // for the journal
	ordinal string
	object  evidence.Object
	began   time.Time
	taken   csi.Taken
	err     error // of the last look
}

// take makes the write. One that stands already is the same snapshot.
func (s snapping) take(ctx context.Context, t evidence.Target, one *shot) error {
	change, err := one.volume.Change(t, s.site.Order.Case)
	if err != nil {
		return err
	}
	one.began = s.site.Now()
	answer, err := s.site.Journal.Do(ctx, change, func(ctx context.Context) (json.RawMessage, error) {
		uid, err := s.storage.Create(ctx, change, false)
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]string{"uid": uid})
	})
	if err != nil {
		return err
	}
	var made struct {
		UID string `json:"uid"`
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		return fmt.Errorf("read what %s answered: %w", change.Object, err)
	}
	one.object = change.Object
	one.object.UID = made.UID
	s.site.Progress("snapshot of claim %s asked for: %s", one.volume.Claim, change.Object.Name)
	return nil
}

// wait looks at every snapshot until each is as far as it is waited for, or the time is over.
func (s snapping) wait(ctx context.Context, made []shot) error {
	began, told := s.site.Now(), s.site.Now()
	for {
		var errs []error
		pending := 0
		for i := range made {
			if s.done(made[i]) {
				continue
			}
			errs = append(errs, s.look(ctx, &made[i]))
			if !s.done(made[i]) {
				pending++
			}
		}
		now := s.site.Now()
		if pending == 0 || now.Sub(began) >= s.within || ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if now.Sub(told) >= 5*time.Second {
			told = now
			s.site.Progress("waiting for %d snapshots to be %s (%d s of at most %d)", pending, s.until, int(now.Sub(began).Seconds()), int(s.within.Seconds()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (s snapping) done(one shot) bool {
	held := one.taken.Bound && one.taken.Held()
	return held && (one.taken.Ready || s.until == untilTaken && !one.taken.Taken.IsZero())
}

// look reads how far a snapshot is, and has it kept as soon as there is something to keep.
// An error is one that waiting does not mend.
func (s snapping) look(ctx context.Context, one *shot) error {
	before := one.taken.Errors
	var taken csi.Taken
	if taken, one.err = s.storage.Read(ctx, one.object, one.volume); one.err == nil {
		taken.Merge(before)
		one.taken = taken
	}
	if !taken.Bound || taken.Held() { // what could not be read is told when the time is over
		return nil
	}
	keep, err := taken.Keep()
	if err != nil {
		return err
	}
	_, err = s.site.Journal.Do(ctx, keep, func(ctx context.Context) (json.RawMessage, error) { return nil, s.storage.Retain(ctx, keep) })
	if err != nil {
		one.taken.Errors = append(one.taken.Errors, "it goes with its object: "+err.Error())
		return err
	}
	one.taken.Policy = "Retain"
	return nil
}

// file writes what came of a snapshot.
func (s snapping) file(ctx context.Context, sink evidence.Sink, one shot) error {
	why := ""
	switch {
	case one.taken.Snapshot == "": // it was never seen
		why = "the snapshot was asked for, and cannot be read: " + fmt.Sprint(one.err)
	case one.taken.Taken.IsZero() && len(one.taken.Errors) > 0:
		why = "the storage takes no snapshot: " + one.taken.Errors[len(one.taken.Errors)-1]
	}
	if why != "" {
		return errors.Join(fmt.Errorf("claim %s: %s", one.volume.Claim, why), s.absent(ctx, sink, one, why))
	}
	b, err := json.MarshalIndent(one.taken, "", "  ")
	if err != nil {
		return err
	}
	_, err = sink.Add(ctx, s.artifact(one), reading{bytes.NewReader(b), one.taken.Notes()})
	whole := err
	if whole == nil && !one.taken.Ready {
		whole = fmt.Errorf("snapshot of claim %s is not ready after %s", one.volume.Claim, s.within)
		if s.until == untilTaken && !one.taken.Taken.IsZero() {
			return nil // a later step looks again
		}
	}
	s.site.Took(one.name)
	return errors.Join(whole, s.site.Journal.Captured(ctx, one.name, 1, 0, whole))
}

// reading is a body with what is to be said of it.
type reading struct {
	*bytes.Reader
	notes []string
}

func (r reading) Trailer() evidence.Trailer { return evidence.Trailer{Size: -1, Notes: r.notes} }

func (s snapping) absent(ctx context.Context, sink evidence.Sink, one shot, why string) error {
	a := s.artifact(one)
	a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: why}
	if one.volume.Policy {
		a.Absent.Status = evidence.LeftOut
	}
	_, err := sink.Add(context.WithoutCancel(ctx), a, nil)
	lacks := 1 // a session that goes on tries again
	if one.volume.Policy {
		lacks = 0
	}
	s.site.Took(one.name)
	return errors.Join(err, s.site.Journal.Captured(ctx, one.name, 1, lacks, nil))
}

func (s snapping) artifact(one shot) evidence.Artifact {
	detail := "volume " + one.volume.Name
	if one.volume.Claim != "" {
		detail += ", claim " + one.volume.Claim
	}
	return evidence.Artifact{
		Kind: volumeSnapshot, Section: evidence.Volumes, Ordinal: one.ordinal, Ext: "json", MediaType: "application/json",
		Source: evidence.Source{How: "api", Detail: detail}, Trust: evidence.TrustAPI, Class: evidence.Internal,
		Volatility: collectors.RankVolumes, Started: one.began,
	}
}
