package report

import (
	"cmp"
	"slices"
	"time"

	"irkit.dev/irkit/evidence"
)

// verdict is the one-glance answer, and what it rests on.
type verdict struct {
	evidence.Verdict
	Tone     string // ok, warn, bad, unknown: a class of the style sheet
	Sentence string
	Times    []instant
	Out, In  string // tones
}

// instant is one line of the times.
type instant struct {
	What string
	At   *time.Time
	Note string // instead of a time
	Tone string
}

func tone(s evidence.State) string {
	switch s {
	case evidence.Contained:
		return "ok"
	case evidence.ContainedNewOnly, evidence.Partial:
		return "warn"
	case evidence.Unverified:
		return "unknown"
	}
	return "bad"
}

var sentences = map[evidence.State]string{
	evidence.Contained:        "Measured: nothing that was tried, in either direction, gets through.",
	evidence.ContainedNewOnly: "Measured: no new connection gets through. Connections that stood before still move; they are listed.",
	evidence.Partial:          "Something still gets through, or one direction could not be proven. What it is, is named below.",
	evidence.Unverified:       "Measures were taken, but nothing that counts as proof was measured.",
	evidence.Failed:           "The target is not contained.",
}

func judge(told evidence.Verdict) *verdict {
	v := &verdict{Verdict: told, Tone: tone(told.State), Out: tone(told.Outbound), In: tone(told.Inbound)}
	v.Sentence = sentences[told.State]
	if v.Sentence == "" {
		v.Sentence = "The verdict has a word that this report does not know; it counts as not contained."
	}
	add := func(what string, at *time.Time, otherwise string) {
		v.Times = append(v.Times, instant{What: what, At: at, Note: otherwise})
	}
	add("The command began to act", &told.Started, "")
	if told.Cut != nil {
		add("Cut in force in the pod's network", &told.Cut.Installed, "")
	}
	add("Established connections stopped", told.EstablishedStopped, "not seen to stop, or none was measured")
	add("New connections stopped", told.NewStopped, "not seen to stop, or none was measured")
	v.Times = append(v.Times, policy(told))
	add("Last measurement ended", &told.Measured, "")
	slices.SortStableFunc(v.Probes, func(a, b evidence.ProbeResult) int { return a.At.Compare(b.At) })
	return v
}

// policy says when the NetworkPolicy by itself held, or that it does not.
func policy(told evidence.Verdict) instant {
	p := instant{What: "NetworkPolicy held by itself", At: told.PolicyHeld}
	applied := slices.ContainsFunc(told.Layers, func(l evidence.LayerVerdict) bool { return l.Layer == "netpol" && l.Applied })
	switch {
	case told.PolicyEnforced != nil && !*told.PolicyEnforced:
		p.At, p.Note, p.Tone = nil, "NOT ENFORCED: this cluster's network accepts the policy and does nothing", "bad"
	case told.PolicyHeld != nil:
	case !applied:
		p.Note = "no NetworkPolicy was applied"
	default:
		p.Note = "not measured to hold"
	}
	return p
}

// moment is one dot of the picture.
type moment struct {
	What string
	At   time.Time
	Kind string // contain, measure, collect: a class
	X    float64
	Y    int
	Rel  string
}

// moments are the key moments: of the verdict, of the changes, and of collecting.
func moments(v *view, told evidence.Verdict, records []evidence.Record, entries []evidence.Entry) (time.Time, []moment) {
	var ms []moment
	add := func(kind, what string, at *time.Time) {
		if at != nil && !at.IsZero() {
			ms = append(ms, moment{What: what, At: *at, Kind: kind})
		}
	}
	start := told.Started
	if start.IsZero() && len(records) > 0 {
		start = records[0].Time
	}
	if v.Verdict != nil {
		for _, t := range v.Verdict.Times[1:] {
			add("measure", t.What, t.At)
		}
	}
	for _, c := range v.Changes {
		if what := changeMoments[c.Layer+"/"+string(c.Op)]; what != "" && c.State == done {
			add("contain", what, &c.At)
		}
	}
	if len(entries) > 0 {
		first, last := entries[0].Started, entries[0].Finished
		for _, e := range entries {
			if !e.Started.IsZero() && e.Started.Before(first) {
				first = e.Started
			}
			if e.Finished.After(last) {
				last = e.Finished
			}
		}
		add("collect", "First artifact read", &first)
		add("collect", "Last artifact stored", &last)
	}
	slices.SortStableFunc(ms, func(a, b moment) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.What, b.What)) })
	return start, slices.CompactFunc(ms, func(a, b moment) bool { return a.What == b.What })
}

// changeMoments names the changes that belong in the picture, by layer and operation.
var changeMoments = map[string]string{
	"hand/inject":    "Process beside the target started",
	"netpol/create":  "NetworkPolicy created",
	"deny/create":    "Deny policy created",
	"detach/patch":   "Taken out of its Services and controller",
	"cordon/patch":   "Node closed to new pods",
	"protect/create": "Protected from eviction",
}
