package actions

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// quarantined is a site whose pod was cut, and whose policy is as the network says.
func quarantined(s *starter, log *memory) *playbooks.Site {
	pod := targetPod()
	scene := quarantine.Scene{Target: theTarget(), Pod: *pod, CNI: quarantine.CNI{Name: "cilium"}}
	site := &playbooks.Site{
		Conn: &cluster.Conn{Client: fake.NewClientset(pod)}, Order: playbooks.Order{Target: theTarget(), Pod: pod},
		Now: s.net.Now, Progress: func(string, ...any) {}, Journal: playbooks.NewJournal(log, nil, cluster.WithAudit),
		Watch: playbooks.NewWatch(scene, "c-1", s.net.Now()), Hands: playbooks.NewHands(s, pod),
		Want: quarantine.Want{Case: "c-1", Layers: []string{"netns", "label", "netpol"}},
	}
	site.Look.Scene, site.Look.Targets = scene, quarantine.Probes(scene)
	site.Look.Targets.Inside = append(site.Look.Targets.Inside,
		evidence.Probe{Name: "canary-1", Proto: "tcp", Addr: netip.MustParseAddrPort("203.0.113.7:443")})
	site.Watch.Opened(s.net.Opened(agent.Opening{Baseline: site.Look.Targets.Inside, Cut: &agent.Cut{Case: "c-1"}}))
	for _, l := range site.Want.Layers {
		site.Watch.Applied(quarantine.Applied{Layer: l, At: s.net.Now()})
	}
	return site
}

// hurried is a clock that runs twenty seconds further each time it is read.
func hurried() func() time.Time {
	var n atomic.Int64
	start := time.Now()
	return func() time.Time { return start.Add(time.Duration(n.Add(1)) * 20 * time.Second) }
}

func measureWithin(d time.Duration, s *playbooks.Site) playbooks.Action { return measure{d}.Build(s) }

func verdictIn(t *testing.T, log *memory) evidence.Record {
	t.Helper()
	var out []evidence.Record
	for _, r := range log.records {
		if r.Action == evidence.ActMeasured {
			out = append(out, r)
		}
	}
	if len(out) != 1 {
		t.Fatalf("%d verdicts in custody", len(out))
	}
	return out[0]
}

func TestMeasuringEndsWhenThePolicyHolds(t *testing.T) {
	s, log := newStarter(), &memory{}
	var holds atomic.Bool
	s.net.Policy = func(bool) bool { return holds.Load() }
	site := quarantined(s, log)
	rounds := 0
	s.tune = func(h *handtest.Hand) {
		if h.Where.Beside == "" {
			return
		}
		h.Fail = func(call string) error {
			if call == "measure" {
				rounds++
				holds.Store(rounds >= 2)
			}
			return nil
		}
	}
	out, err := measureWithin(time.Hour, site).Run(t.Context(), theTarget(), nil)
	if err != nil || rounds != 3 { // one that passes, two that do not
		t.Errorf("%d rounds, %v", rounds, err)
	}
	v := site.Watch.Verdict()
	if out.Summary != "verdict "+string(v.State) || verdictIn(t, log).Result != string(v.State) {
		t.Errorf("%q, %s", out.Summary, v.State)
	}
	if v.PolicyHeld == nil || v.Outbound != evidence.Contained || v.Inbound != evidence.Contained || v.State != evidence.Contained {
		t.Errorf("%s: outbound %s, inbound %s, held %v", v.State, v.Outbound, v.Inbound, v.PolicyHeld)
	}
}

func TestMeasuringGivesAPolicyThatNeverHoldsItsTime(t *testing.T) {
	s, log := newStarter(), &memory{}
	site := quarantined(s, log)
	site.Now = hurried()
	var told []string
	site.Progress = func(format string, args ...any) { told = append(told, format) }
	_, err := measureWithin(time.Hour, site).Run(t.Context(), theTarget(), nil)
	v := site.Watch.Verdict()
	if err != nil || v.PolicyHeld != nil || v.PolicyEnforced != nil && *v.PolicyEnforced {
		t.Errorf("%s, held %v, %v", v.State, v.PolicyHeld, err)
	}
	// The cut holds; that the policy does not is said, and lowers nothing.
	if v.State != evidence.Contained || !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "still lets traffic pass") }) {
		t.Errorf("%s, told %q", v.State, told)
	}
}

func TestMeasuringWithoutHandsProvesNothingAndIsNoFailure(t *testing.T) {
	s, log := newStarter(), &memory{}
	s.refuse = map[string]error{"app": errors.New("no room"), "side": errors.New("no room"), "probe": errors.New("no namespace")}
	site := quarantined(s, log)
	out, err := measureWithin(time.Minute, site).Run(t.Context(), theTarget(), nil)
	v := site.Watch.Verdict()
	if err != nil || v == nil || v.State == evidence.Contained || out.Summary == "" {
		t.Fatalf("%+v, %v", v, err)
	}
	if r := verdictIn(t, log); len(r.Errors) != 2 || !strings.Contains(r.Errors[1], "no namespace") {
		t.Errorf("custody does not say why: %q", r.Errors)
	}
}

func TestAHandThatEndsWhileMeasuring(t *testing.T) {
	s, log := newStarter(), &memory{}
	s.tune = func(h *handtest.Hand) {
		if h.Where.Beside != "" {
			h.Fail = func(string) error { return agent.ErrGone }
		}
	}
	site := quarantined(s, log)
	_, err := measureWithin(time.Minute, site).Run(t.Context(), theTarget(), nil)
	if !errors.Is(err, agent.ErrGone) || site.Watch.Verdict() == nil {
		t.Errorf("%v, %+v", err, site.Watch.Verdict())
	}
	if r := verdictIn(t, log); len(r.Errors) != 1 {
		t.Errorf("%q", r.Errors)
	}
}

// An interrupt ends the measuring, and what was seen by then is judged.
func TestAnInterruptedMeasurementIsJudged(t *testing.T) {
	s, log := newStarter(), &memory{}
	site := quarantined(s, log)
	ctx, stop := context.WithCancel(t.Context())
	s.tune = func(h *handtest.Hand) {
		h.Fail = func(call string) error {
			if call == "measure through pinholes" {
				stop()
			}
			return nil
		}
	}
	_, err := measureWithin(time.Hour, site).Run(ctx, theTarget(), nil)
	if !errors.Is(err, context.Canceled) || site.Watch.Verdict() == nil || verdictIn(t, log).Result == "" {
		t.Errorf("%v, %+v", err, site.Watch.Verdict())
	}
}

// What listens is tried from outside, though nobody declared it, and a restart is seen.
func TestMeasuringTriesWhatListensAndSeesRestarts(t *testing.T) {
	s, log := newStarter(), &memory{}
	s.net.Policy = func(bool) bool { return true }
	s.net.Flows = []evidence.Flow{{Proto: "tcp", State: "LISTEN", Local: netip.MustParseAddrPort("0.0.0.0:31337")}}
	site := quarantined(s, log)
	live := targetPod()
	live.Status.ContainerStatuses[1].RestartCount = 2
	site.Conn = &cluster.Conn{Client: fake.NewClientset(live)}
	site.Want.Layers = []string{"netns"} // no policy to wait for
	if _, err := measureWithin(time.Minute, site).Run(t.Context(), theTarget(), nil); err != nil {
		t.Fatal(err)
	}
	var ports []uint16
	for _, r := range site.Watch.Measurements().OutsideAfter {
		ports = append(ports, r.Addr.Port())
	}
	if v := site.Watch.Verdict(); !slices.Contains(ports, 31337) || !slices.Contains(ports, 8080) || !slices.Equal(v.Restarts, []string{"side"}) {
		t.Errorf("tried %v; restarts %q", ports, v.Restarts)
	}
}

func TestMeasureReadsItsLimit(t *testing.T) {
	for text, want := range map[string]time.Duration{"{}": time.Minute, "within: 5s": 5 * time.Second} {
		b, faults := newMeasure(mapping(t, text))
		if len(faults) > 0 || b.(measure).within != want || !b.Needs().Hand || !b.Needs().Probe {
			t.Errorf("%s: %+v, %v", text, b, faults)
		}
	}
	if _, faults := newMeasure(mapping(t, "within: -1s")); len(faults) == 0 {
		t.Error("a negative limit is taken")
	}
}
