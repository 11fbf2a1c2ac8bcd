package collectortest

import (
	"context"
	"errors"
	"testing"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Subject is a collector under test, in the three situations that decide.
type Subject struct {
	Target evidence.Target
	// Whole makes one whose source answers.
	Whole func(t *testing.T) collectors.Collector
	// Denied makes one that may not read its source at all.
	Denied func(t *testing.T) collectors.Collector
}

// Conform is the suite that every collector passes: what collectors.Collector promises.
func Conform(t *testing.T, s Subject) {
	t.Run("traits", func(t *testing.T) {
		c := s.Whole(t)
		if err := c.Traits().Validate(); err != nil {
			t.Error(err)
		}
		if a, b := c.Traits(), c.Traits(); a.Name != b.Name || a.Volatility != b.Volatility || len(a.Rules) != len(b.Rules) {
			t.Error("traits change from call to call")
		}
	})
	t.Run("whole", func(t *testing.T) {
		c, sink := s.Whole(t), &Sink{}
		for range 2 {
			sink.Items = nil
			if err := c.Collect(t.Context(), s.Target, sink); err != nil {
				t.Fatal(err)
			}
			some := false
			for _, i := range sink.Items {
				some = some || (i.Absent == nil && len(i.Bytes) > 0)
			}
			if !some {
				t.Errorf("nothing was collected from a source that answers: %d entries", len(sink.Items))
			}
		}
	})
	t.Run("denied", func(t *testing.T) {
		sink := &Sink{}
		if err := s.Denied(t).Collect(t.Context(), s.Target, sink); err != nil {
			t.Errorf("a refusal is an entry, not an error: %v", err)
		}
		if len(sink.Items) == 0 {
			t.Error("a refusal left no entry")
		}
		for _, i := range sink.Items {
			if i.Absent == nil {
				t.Errorf("%s: %d bytes collected from a source that refuses", i.Kind, len(i.Bytes))
			} else if i.Absent.Status != evidence.Impossible || i.Absent.Reason == "" {
				t.Errorf("%s: absent as %q because %q", i.Kind, i.Absent.Status, i.Absent.Reason)
			}
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		sink := &Sink{}
		err := s.Whole(t).Collect(ctx, s.Target, sink)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
		for _, i := range sink.Items {
			if i.Entry.Status == evidence.Collected {
				t.Errorf("%s: collected after the context ended", i.Kind)
			}
		}
	})
	t.Run("full disk", func(t *testing.T) {
		if err := s.Whole(t).Collect(t.Context(), s.Target, fullSink{}); !errors.Is(err, errFull) {
			t.Errorf("the sink's error was lost: %v", err)
		}
	})
}
