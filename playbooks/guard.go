package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Noter writes records that are no writes; Journal is one.
type Noter interface {
	Note(ctx context.Context, r evidence.Record) error
}

// Guard looks at what others do to a containment, and records what is new. Safe for
// concurrent use.
type Guard struct {
	Conn     *cluster.Conn
	Target   evidence.Target
	Restarts map[string]int32 // of each container when the case began; nil: not known
	Notes    Noter
	Now      func() time.Time
	Progress func(format string, args ...any)

	mu         sync.Mutex
	known      []evidence.Disturbance
	reasserted int
}

// Look holds what stands against what was done, tells the watch, and records each thing
// that it had not seen before, and each time that the hand put the cut back. A target
// that is gone or replaced is cluster.ErrReplaced.
func (g *Guard) Look(ctx context.Context, done []quarantine.Done, w *Watch) ([]evidence.Disturbance, error) {
	marks, err := quarantine.ReadMarks(ctx, g.Conn, g.Target, done, g.Now())
	if errors.Is(err, cluster.ErrReplaced) {
		gone := []evidence.Disturbance{quarantine.TargetGone(g.Target, g.Now())}
		w.Disturbed(gone, w.Measurements().Labels)
		return gone, errors.Join(err, g.record(ctx, gone))
	}
	if err != nil {
		return nil, err
	}
	all := quarantine.Disturbed(marks, done, g.Restarts)
	w.Disturbed(all, marks.Pod.Labels)
	if err := g.record(ctx, all); err != nil {
		return all, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return all, g.cut(ctx, w.Measurements().Cut)
}

// record writes what was not seen before.
func (g *Guard) record(ctx context.Context, all []evidence.Disturbance) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range all {
		if slices.ContainsFunc(g.known, d.Same) {
			continue
		}
		g.Progress("others: %s%s", d.Text, by(d))
		r := evidence.Record{Action: evidence.ActDisturbed, Result: d.Code, Note: d.Text, Data: map[string]any{"object": d.Object, "by": d.By, "change": d.Change}}
		if err := g.Notes.Note(ctx, r); err != nil {
			return err
		}
		g.known = append(g.known, d)
	}
	return nil
}

func by(d evidence.Disturbance) string {
	if d.By == "" {
		return ""
	}
	return ", written by " + d.By
}

// cut records what the hand did by itself since.
func (g *Guard) cut(ctx context.Context, c *evidence.CutReport) error {
	if c == nil || c.Reasserted <= g.reasserted || c.Reasserting == nil {
		return nil
	}
	n := c.Reasserted - g.reasserted
	text := fmt.Sprintf("the cut was taken away or changed %d times, and the hand put it back, last at %s", n, c.Reasserting.UTC().Format(time.RFC3339Nano))
	g.Progress("%s", text)
	err := g.Notes.Note(ctx, evidence.Record{Action: evidence.ActReasserted, Result: "ok", Note: text,
		Data: map[string]any{"times": n, "times_in_all": c.Reasserted, "open_ns_in_all": int64(c.Reopened)}})
	if err == nil {
		g.reasserted = c.Reasserted
	}
	return err
}

// recall takes over what was recorded before, so that it is recorded once.
func (g *Guard) recall(records []evidence.Record) {
	for _, r := range records {
		switch r.Action {
		case evidence.ActDisturbed:
			text := func(k string) string { s, _ := r.Data[k].(string); return s }
			g.known = append(g.known, evidence.Disturbance{Code: r.Result, Text: r.Note, Object: text("object"), By: text("by"), Change: text("change")})
		case evidence.ActReasserted:
			g.reasserted = int(number(r.Data["times_in_all"]))
		case evidence.ActHand:
			if r.Phase == evidence.Did { // a new hand counts from the start
				g.reasserted = 0
			}
		}
	}
}

// number reads an integer of a record's data, however it was decoded.
func number(v any) int64 {
	switch n := v.(type) {
	case float64:
		return int64(n)
	case json.Number:
		i, _ := n.Int64()
		return i
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

const restartsKey = "restarts"

// restarts is how often each container had been restarted when the case began, as the
// first session wrote it down; nil where none did.
func (h History) restarts() map[string]int32 {
	for _, r := range h.Records {
		if m, ok := r.Data[restartsKey].(map[string]any); ok && r.Action == evidence.ActOpened {
			out := map[string]int32{}
			for name, n := range m {
				out[name] = int32(number(n))
			}
			return out
		}
	}
	return nil
}
