package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// inside are what is tried from the pod, outside what is tried at it.
func targets(n *handtest.Net) quarantine.Targets {
	return quarantine.Targets{
		Inside: []evidence.Probe{
			{Name: "canary-1", Proto: "tcp", Addr: netip.MustParseAddrPort("203.0.113.7:443")},
			{Name: "sibling", Proto: "tcp", Addr: netip.MustParseAddrPort("10.0.0.8:80")},
		},
		Outside: []evidence.Probe{{Name: "inbound", Proto: "tcp", Addr: netip.AddrPortFrom(n.Pod, 8080), Inbound: true}},
	}
}

func newWatch(n *handtest.Net, cut bool) (*Watch, *handtest.Hand) {
	w, hand := NewWatch(quarantine.Scene{Target: target(), Pod: *pod()}, "c-1", n.Now()), n.Beside("app")
	o := agent.Opening{Baseline: targets(n).Inside}
	if cut {
		o.Cut = &agent.Cut{Case: "c-1"}
	}
	opened := n.Opened(o)
	w.Opened(opened)
	return w, hand
}

func TestARoundTriesThroughHolesOnlyWhatAnsweredBefore(t *testing.T) {
	n := handtest.New()
	n.Deaf = []string{"sibling"}
	w, in := newWatch(n, true)
	if err := w.Round(t.Context(), in, n.Outside(), []netip.Addr{n.Probe}, targets(n)); err != nil {
		t.Fatal(err)
	}
	m := w.Measurements()
	if len(m.PinholeOut) != 1 || m.PinholeOut[0].Name != "canary-1" || !m.PinholeOut[0].Answered {
		t.Errorf("through holes: %+v", m.PinholeOut)
	}
	if len(m.PinholeIn) != 1 || !m.PinholeIn[0].Answered || !m.PinholeIn[0].Inbound || !m.PinholeIn[0].Pinhole {
		t.Errorf("through the hole inwards: %+v", m.PinholeIn)
	}
	if len(m.OutsideAfter) != 1 || m.OutsideAfter[0].Answered || !m.OutsideAfter[0].Inbound || m.OutsideAfter[0].Pinhole {
		t.Errorf("from outside: %+v", m.OutsideAfter)
	}
	for _, r := range m.After {
		if r.Answered {
			t.Errorf("answers through the cut: %+v", r)
		}
	}
	if len(m.Reachable) != 2 || !w.Tells() || w.Settled() {
		t.Errorf("reachable %+v, tells %v, settled %v", m.Reachable, w.Tells(), w.Settled())
	}
	if calls := in.Calls(); !slices.Equal(calls, []string{"measure", "measure through pinholes", "hole for 10.0.0.99 to port 8080"}) {
		t.Errorf("asked inside: %q", calls)
	}
	if open, _ := n.Cut(); !open {
		t.Error("the cut is gone")
	}
}

func TestNoHolesWithoutACut(t *testing.T) {
	n := handtest.New()
	w, in := newWatch(n, false)
	if err := w.Round(t.Context(), in, n.Outside(), []netip.Addr{n.Probe}, targets(n)); err != nil {
		t.Fatal(err)
	}
	m := w.Measurements()
	if len(m.PinholeOut)+len(m.PinholeIn) != 0 || !w.Tells() || w.Settled() || len(m.After) == 0 || len(m.OutsideAfter) != 1 {
		t.Errorf("%+v", m)
	}
}

func TestARoundWithOneHandMissingOrBroken(t *testing.T) {
	probe := []netip.Addr{handtest.New().Probe}
	for name, c := range map[string]struct {
		inside, outside bool
		broken          string // the hand whose measure fails
		from            []netip.Addr
		in, out         int // results inside and outside
	}{
		"none":                       {},
		"inside alone":               {inside: true, in: 4},
		"outside alone":              {outside: true, out: 1},
		"inside broken":              {inside: true, outside: true, broken: "inside", from: probe, out: 1, in: 2},
		"outside broken":             {inside: true, outside: true, broken: "outside", from: probe, in: 4},
		"outside of unknown address": {inside: true, outside: true, in: 4, out: 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := handtest.New()
			w, in := newWatch(n, true)
			out := n.Outside()
			gone := func(string) error { return agent.ErrGone }
			var a, b agent.Hand
			if c.inside {
				a = in
			}
			if c.outside {
				b = out
			}
			switch c.broken {
			case "inside":
				in.Fail = gone
			case "outside":
				out.Fail = gone
			}
			err := w.Round(t.Context(), a, b, c.from, targets(n))
			if errors.Is(err, agent.ErrGone) != (c.broken != "") {
				t.Errorf("%v", err)
			}
			m := w.Measurements()
			if len(m.After) != c.in && c.inside || len(m.OutsideAfter) != c.out || len(m.PinholeIn) != 0 {
				t.Errorf("inside %d, outside %d, inwards %d", len(m.After), len(m.OutsideAfter), len(m.PinholeIn))
			}
		})
	}
}

// A hole for one family lets nothing in over the other: silence there would be the cut's.
func TestARoundKnocksThroughHolesOfTheSameFamily(t *testing.T) {
	six := netip.MustParseAddr("fd00:10::99")
	for name, c := range map[string]struct {
		from  []netip.Addr
		holes []string
	}{
		"IPv4 alone": {[]netip.Addr{handtest.New().Probe}, []string{"hole for 10.0.0.99 to port 8080"}},
		"both":       {[]netip.Addr{handtest.New().Probe, six}, []string{"hole for 10.0.0.99 to port 8080", "hole for fd00:10::99 to port 8080"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := handtest.New()
			w, in := newWatch(n, true)
			all := targets(n)
			all.Outside = append(all.Outside, evidence.Probe{Name: "inbound", Proto: "tcp", Addr: netip.MustParseAddrPort("[fd00:10::7]:8080"), Inbound: true})
			if err := w.Round(t.Context(), in, n.Outside(), c.from, all); err != nil {
				t.Fatal(err)
			}
			if got := in.Calls()[2:]; !slices.Equal(got, c.holes) || len(w.Measurements().PinholeIn) != len(c.holes) {
				t.Errorf("asked inside: %q, %d tries; want %q", got, len(w.Measurements().PinholeIn), c.holes)
			}
		})
	}
}

func TestSettledIsTwoSilentTriesOfEachInARow(t *testing.T) {
	tries := func(names string, answers ...string) []evidence.ProbeResult {
		var out []evidence.ProbeResult
		for i, line := range answers { // one string a probe: y answered, n silent
			for _, a := range line {
				out = append(out, evidence.ProbeResult{Probe: evidence.Probe{Name: names + fmt.Sprint(i)}, Answered: a == 'y'})
			}
		}
		return out
	}
	for _, c := range []struct {
		out, in []string
		settled bool
	}{
		{nil, nil, false},
		{[]string{"n"}, nil, false},
		{[]string{"nn"}, nil, true},
		{[]string{"yynn"}, nil, true},
		{[]string{"nny"}, nil, false},
		{[]string{"nyn"}, nil, false},
		{[]string{"nn", "n"}, nil, false},
		{[]string{"nn", "yn"}, nil, false},
		{[]string{"nn", "ynn"}, []string{"nn"}, true},
		{[]string{"nn"}, []string{"n"}, false},
		{[]string{"nn"}, []string{"yn"}, false},
		{nil, []string{"nn"}, true},
		{nil, []string{"n"}, false},
	} {
		for _, cut := range []bool{true, false} { // without a cut nothing but the policy stops a try
			w := NewWatch(quarantine.Scene{}, "c-1", time.Now())
			if cut {
				w.m.Cut = &evidence.CutReport{}
				w.m.PinholeOut, w.m.PinholeIn = tries("out", c.out...), tries("in", c.in...)
			} else {
				w.m.After, w.m.OutsideAfter = tries("out", c.out...), tries("in", c.in...)
			}
			if got := w.Settled(); got != c.settled {
				t.Errorf("cut %v, out %q, in %q: settled %v", cut, c.out, c.in, got)
			}
			if got := w.Tells(); got != (len(c.out)+len(c.in) > 0) {
				t.Errorf("cut %v, out %q, in %q: tells %v", cut, c.out, c.in, got)
			}
		}
	}
}

func TestRecallTakesOverWhatStandsAndNothingElse(t *testing.T) {
	n, log := handtest.New(), newLog(t, t.TempDir())
	j := NewJournal(log, nil, cluster.WithAudit)
	do := func(j *Journal, id, layer string, err error) {
		t.Helper()
		c := change(id)
		c.Layer = layer
		_, got := j.Do(t.Context(), c, func(context.Context) (json.RawMessage, error) {
			if err != nil {
				return nil, err
			}
			r := quarantine.Result{UID: "u"}
			if layer == quarantine.LayerNetns {
				opened := n.Opened(agent.Opening{Baseline: targets(n).Inside, Cut: &agent.Cut{Case: "c-1"}})
				r.Opened = &opened
			}
			return json.Marshal(r)
		})
		if !errors.Is(got, err) {
			t.Fatal(got)
		}
	}
	do(j, "netns", quarantine.LayerNetns, nil)
	do(j, "netpol", quarantine.LayerNetpol, nil)
	do(j, "label", quarantine.LayerLabel, nil)
	do(j, "detach", quarantine.LayerDetach, errors.New("refused"))
	do(j.Releasing(log.Records()), undoPrefix+"label", quarantine.LayerLabel, nil)
	do(j.Releasing(log.Records()), undoPrefix+"netpol", quarantine.LayerNetpol, errors.New("refused"))

	w := NewWatch(quarantine.Scene{}, "c-1", time.Now())
	w.Recall(log.Records())
	m := w.Measurements()
	var layers []string
	for _, a := range m.Applied {
		layers = append(layers, a.Layer+a.Error)
	}
	if want := []string{"netns"}; !slices.Equal(layers, want) {
		t.Errorf("recalled %q, want %q: what is only half undone is not sure to stand", layers, want)
	}
	if m.Cut == nil || len(m.Baseline) != 2 || !m.Baseline[0].Answered {
		t.Errorf("the opening move is lost: %+v", m)
	}
	if v := w.Judge(time.Now()); v.State == evidence.Contained || w.Verdict() == nil || w.Verdict().State != v.State {
		t.Errorf("%+v", v)
	}
	// A record of another program's making is no reason to stop.
	records := log.Records()
	records[1].Data = map[string]any{answerKey: "no result"}
	w = NewWatch(quarantine.Scene{}, "c-1", time.Now())
	w.Recall(records)
	if m := w.Measurements(); len(m.Applied) != 1 || m.Cut != nil {
		t.Errorf("%+v", m)
	}
}

func TestALayerHasOneFate(t *testing.T) {
	w := NewWatch(quarantine.Scene{}, "c-1", time.Now())
	w.Applied(quarantine.Applied{Layer: "netpol", Error: "refused"})
	before := w.Measurements()
	w.Applied(quarantine.Applied{Layer: "netpol"})
	w.Restarted([]string{"app"})
	m := w.Measurements()
	if len(m.Applied) != 1 || m.Applied[0].Error != "" || strings.Join(m.Restarts, "") != "app" {
		t.Errorf("%+v", m)
	}
	if before.Applied[0].Error != "refused" {
		t.Error("what was handed out changes with what comes after")
	}
}
