package playbooks

import (
	"encoding/json"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// What a measured record keeps beside the state as a whole.
const (
	outboundKey = "outbound"
	inboundKey  = "inbound"
	knownKey    = "known"
)

// measuredData is what a later run of the case needs of a verdict: the tries that worked,
// which it cannot make again where a layer holds.
func measuredData(v evidence.Verdict) map[string]any {
	data := map[string]any{outboundKey: string(v.Outbound), inboundKey: string(v.Inbound)}
	if known := quarantine.KnownOf(v.Probes); len(known) > 0 {
		data[knownKey] = known
	}
	return data
}

// knownIn are the tries that worked by the last verdict that has some, since the target was
// last released as a whole.
func knownIn(records []evidence.Record) []evidence.ProbeResult {
	var known []evidence.ProbeResult
	for _, r := range records {
		switch {
		case r.Action == evidence.ActReleased && r.Change == nil:
			known = nil
		case r.Action == evidence.ActMeasured && r.Data[knownKey] != nil:
			var all []evidence.ProbeResult
			if b, err := json.Marshal(r.Data[knownKey]); err == nil && json.Unmarshal(b, &all) == nil {
				known = quarantine.KnownOf(all)
			}
		}
	}
	return known
}

// Recall takes over what an earlier session wrote down: the opening move, the layers that
// were applied and not released, what it saw work, and when the session that began with
// them started.
func (w *Watch) Recall(records []evidence.Record) {
	stands := StandingChanges(records)
	var opened, began time.Time
	for _, r := range records {
		if r.Action == evidence.ActOpened {
			opened = r.Time
		}
		if r.Change == nil || r.Phase != evidence.Did || r.Action != evidence.ActIsolated {
			continue
		}
		if _, there := stands[r.Change.ID]; !there {
			continue
		}
		if began.IsZero() {
			began = opened
		}
		w.Applied(quarantine.Applied{Layer: r.Change.Layer, At: r.Time})
		var result quarantine.Result
		if err := json.Unmarshal(answerOf(r), &result); err == nil && result.Opened != nil {
			w.Opened(*result.Opened)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Known = knownIn(records)
	if !began.IsZero() {
		w.m.Started = began
	}
}
