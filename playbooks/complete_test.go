package playbooks

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/evidence"
)

func TestCompleteNamesEveryPairAndEveryEntry(t *testing.T) {
	entry := func(id, kind, ordinal string, s evidence.Status, size int64) evidence.Entry {
		return evidence.Entry{ID: id, Kind: kind, Ordinal: ordinal, Section: evidence.Volatile, Status: s, Size: size, Reason: "because " + id}
	}
	planned := []string{"processes", "environment", "filesystem", "recovered", "logs", "objects"}
	entries := []evidence.Entry{
		entry("0001", "processes", "c0", evidence.Collected, 0), // empty is not absent
		entry("0002", "processes", "c1", evidence.Impossible, 0),
		entry("0003", "environment", "c0", evidence.LeftOut, 0),
		entry("0004", "filesystem", "c0", evidence.Collected, 10),
		entry("0005", "filesystem-index", "c0", evidence.Truncated, 3),
		entry("0006", "filesystems", "c0", evidence.Collected, 1), // another kind that begins like it
		entry("0007", "log-current", "c0", evidence.Collected, 5),
		entry("0008", "pod", "pod", evidence.Collected, 7),
	}
	got := map[string]evidence.CompletenessRow{}
	seen := map[string]int{}
	for _, r := range Complete(planned, pod(), entries).Rows {
		key := r.Kind + " " + r.Ordinal
		if _, twice := got[key]; twice {
			t.Errorf("%s has two rows", key)
		}
		got[key] = r
		for _, id := range r.Entries {
			seen[id]++
		}
	}
	for _, e := range entries {
		if seen[e.ID] != 1 {
			t.Errorf("entry %s (%s) stands in %d rows", e.ID, e.Kind, seen[e.ID])
		}
	}
	for key, want := range map[string]struct {
		status evidence.Status
		size   int64
		reason string
	}{
		"processes c0":   {evidence.Collected, 0, "because 0001"},
		"processes c1":   {evidence.Impossible, 0, "because 0002"},
		"environment c0": {evidence.LeftOut, 0, "because 0003"},
		"environment c1": {evidence.Impossible, 0, "nothing was filed"},
		"filesystem c0":  {evidence.Truncated, 13, "because 0005"},
		"filesystem c1":  {evidence.Impossible, 0, "nothing was filed"},
		"recovered c0":   {evidence.Impossible, 0, "nothing was filed"},
		"filesystems c0": {evidence.Collected, 1, "because 0006"},
		"log-current c0": {evidence.Collected, 5, "because 0007"},
		"pod pod":        {evidence.Collected, 7, "because 0008"},
	} {
		r, there := got[key]
		if !there || r.Status != want.status || r.Size != want.size || !strings.HasPrefix(r.Reason, want.reason) {
			t.Errorf("%s: %+v, want %+v", key, r, want)
		}
	}
	if r := got["processes c0"]; r.Container != "app" || len(r.Entries) != 1 {
		t.Errorf("%+v", r)
	}
	if r := got["environment c1"]; r.Container != "side" || len(r.Entries) != 0 {
		t.Errorf("%+v", r)
	}
}

// What was to come through the API server and never came has a row that says so, and so has
// a sidecar that gave nothing.
func TestCompleteNamesWhatNeverCame(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := pod()
	p.Spec.InitContainers = []corev1.Container{{Name: "setup"}, {Name: "proxy", RestartPolicy: &always}}
	got := map[string]evidence.CompletenessRow{}
	for _, r := range Complete([]string{"logs", "objects", "processes", "objects"}, p, []evidence.Entry{{ID: "0001", Kind: "events", Ordinal: "pod"}}).Rows {
		if _, twice := got[r.Kind+" "+r.Ordinal]; twice {
			t.Errorf("two rows of %s %s", r.Kind, r.Ordinal)
		}
		got[r.Kind+" "+r.Ordinal] = r
	}
	for _, key := range []string{"logs pod", "objects pod", "processes c0", "processes c1", "processes i1"} {
		if r := got[key]; r.Status != evidence.Impossible || !strings.HasPrefix(r.Reason, "nothing was filed") {
			t.Errorf("%s: %+v", key, r)
		}
	}
	if got["processes i1"].Container != "proxy" || len(got) != 6 {
		t.Errorf("%+v", got)
	}
}

// The families of Complete are those that the collectors beside a target file under.
func TestCompleteOfNothing(t *testing.T) {
	rows := Complete([]string{"processes"}, pod(), nil).Rows
	if len(rows) != 2 || rows[0].Status != evidence.Impossible || rows[1].Ordinal != "c1" {
		t.Errorf("%+v", rows)
	}
	if rows := Complete(nil, pod(), nil).Rows; len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}
