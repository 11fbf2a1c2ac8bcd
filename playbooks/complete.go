package playbooks

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/evidence"
)

// Complete says of every artifact that was planned, of every container that runs beside the
// others (sidecars too), what became of it. A pair with no entry at all is impossible, with
// the reason that nothing was filed: nothing is missing unsaid. What comes through the API
// server alone has a row for each entry, and one of its own where there is none.
func Complete(planned []string, pod *corev1.Pod, entries []evidence.Entry) evidence.Completeness {
	var c evidence.Completeness
	seen := map[string]bool{}
	told := map[string]bool{}
	for _, kind := range planned {
		if told[kind] {
			continue
		}
		told[kind] = true
		if !slices.Contains(beside.Kinds(), kind) && !slices.Contains(beside.OptIn(), kind) {
			if lead, known := leads()[kind]; known && !slices.ContainsFunc(entries, func(e evidence.Entry) bool { return e.Kind == lead }) {
				c.Rows = append(c.Rows, rowOf(kind, "", "pod", nil))
			}
			continue
		}
		if kind == packets { // of the pod: its containers share one network
			row := rowOf(kind, "", "pod", entries)
			c.Rows = append(c.Rows, row)
			for _, id := range row.Entries {
				seen[id] = true
			}
			continue
		}
		for _, container := range containersOf(pod) {
			row := rowOf(kind, container, ordinalOf(pod, container), entries)
			c.Rows = append(c.Rows, row)
			for _, id := range row.Entries {
				seen[id] = true
			}
		}
	}
	for _, e := range entries {
		if !seen[e.ID] {
			c.Rows = append(c.Rows, evidence.CompletenessRow{
				Kind: e.Kind, Section: e.Section, Container: e.Container, Ordinal: e.Ordinal,
				Status: e.Status, Reason: e.Reason, Entries: []string{e.ID}, Size: e.Size,
			})
		}
	}
	return c
}

// leads are the artifacts without which one that comes through the API server was not taken.
func leads() map[string]string { return map[string]string{"objects": "pod", "logs": "log-current"} }

// rowOf gathers the entries of one kind and container. A kind may give several
// artifacts (a file system and its index); the row has the worst status.
func rowOf(kind, container, ordinal string, entries []evidence.Entry) evidence.CompletenessRow {
	row := evidence.CompletenessRow{Kind: kind, Container: container, Ordinal: ordinal, Status: evidence.Impossible, Reason: "nothing was filed: the session ended before it, or its step failed"}
	worst := []evidence.Status{evidence.Collected, evidence.Changed, evidence.LeftOut, evidence.Truncated, evidence.Impossible}
	for _, e := range entries {
		if e.Ordinal != ordinal || e.Kind != kind && !startsKind(e.Kind, kind) {
			continue
		}
		if len(row.Entries) == 0 || slices.Index(worst, e.Status) > slices.Index(worst, row.Status) {
			row.Status, row.Reason = e.Status, e.Reason
		}
		row.Section = e.Section
		row.Entries = append(row.Entries, e.ID)
		row.Size += e.Size
	}
	return row
}

// startsKind reports a kind of a family: filesystem-index belongs to filesystem.
func startsKind(kind, family string) bool {
	return len(kind) > len(family) && kind[:len(family)] == family && kind[len(family)] == '-'
}
