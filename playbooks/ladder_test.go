package playbooks

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
)

// TestEachRungIsTriedWhenTheOneAboveIsForbidden goes down the whole ladder: what is
// admitted is taken, with what was refused above it, and nothing below is asked for.
func TestEachRungIsTriedWhenTheOneAboveIsForbidden(t *testing.T) {
	all := []string{"app", "P3 app", "node", "P0 app"}
	profiles := []debugger.Profile{debugger.P1N, debugger.P3, debugger.Node, debugger.P0}
	for from := range len(all) + 1 {
		s := newStarter()
		s.refuse = func(name string) error {
			switch at := slices.Index(all, name); {
			case at >= from:
				return nil
			case name == "node":
				return nodepod.ErrSetup
			default:
				return &debugger.NoProfileError{Container: "app", Refused: []debugger.Refusal{{Profile: profiles[at], Reason: "violates PodSecurity"}}}
			}
		}
		h := NewHands(s, pod())
		hand, err := h.Beside(t.Context(), "app")
		if want := all[:min(from+1, len(all))]; !slices.Equal(s.started, want) {
			t.Errorf("%d: asked for %q, want %q", from, s.started, want)
		}
		if from == len(all) {
			if !errors.Is(err, nodepod.ErrSetup) || !errors.Is(err, debugger.ErrNoProfile) || !strings.Contains(err.Error(), "violates PodSecurity") {
				t.Errorf("nothing is admitted: %v", err)
			}
			continue
		}
		if err != nil || hand.Info().Profile != profiles[from] {
			t.Fatalf("%d: %v, %v", from, hand, err)
		}
		if again, err := h.Beside(t.Context(), "app"); err != nil || again != hand || len(s.started) != from+1 {
			t.Errorf("%d: asked again: %v, %q", from, err, s.started)
		}
		if from > 0 && len(hand.Info().Refused) == 0 {
			t.Errorf("%d: nothing of what was refused", from)
		}
		if !slices.Equal(h.Started(), []Hand{hand}) {
			t.Errorf("%d: standing %v", from, h.Started())
		}
		if err := h.Close(t.Context(), false); err != nil {
			t.Error(err)
		}
		last := s.hands[all[from]]
		if !slices.Contains(last.Calls(), "end") {
			t.Errorf("%d: not ended: %q", from, last.Calls())
		}
	}
}

// TestAWeakHandIsNoCutter: the cut is asked of the node where nothing strong is admitted,
// and no ephemeral container is left in the pod for it.
func TestAWeakHandIsNoCutter(t *testing.T) {
	s := newStarter()
	s.refuse = func(name string) error {
		if name == "app" || name == "side" {
			return &debugger.NoProfileError{Container: name}
		}
		return nil
	}
	hand, err := NewHands(s, pod()).Cutter(t.Context())
	if err != nil || hand.Info().Profile != debugger.Node || !slices.Equal(s.started, []string{"app", "side", "node"}) {
		t.Errorf("%v, %q", err, s.started)
	}
}
