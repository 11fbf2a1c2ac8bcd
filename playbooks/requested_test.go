package playbooks

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"irkit.dev/irkit/evidence"
)

// TestRequestsOutsideOfChangesAreRecordedOnce: also those of the journal that releases are
// known to the other, and a run that goes on does not write them again.
func TestRequestsOutsideOfChangesAreRecordedOnce(t *testing.T) {
	log := newLog(t, t.TempDir())
	trail := func(ctx context.Context) (context.Context, func() []string) {
		return ctx, func() []string { return []string{"of-the-change"} }
	}
	j := NewJournal(log, nil, trail)
	r := j.Releasing(nil)
	if _, err := r.Do(t.Context(), change("a"), func(context.Context) (json.RawMessage, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	sent := []string{"exec-1", "of-the-change", "exec-2"}
	for _, again := range []func() *Journal{
		func() *Journal { return j }, func() *Journal { return r }, func() *Journal { return NewJournal(log, log.Records(), trail) },
	} {
		if err := again().Rest(t.Context(), sent); err != nil {
			t.Fatal(err)
		}
	}
	var got [][]string
	for _, r := range log.Records() {
		if r.Action == evidence.ActRequested {
			got = append(got, r.AuditIDs)
		}
	}
	if len(got) != 1 || !slices.Equal(got[0], []string{"exec-1", "exec-2"}) {
		t.Errorf("recorded %q", got)
	}
}
