package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// pieces are layers that only tell what was asked of them.
type pieces struct {
	mu     sync.Mutex
	calls  []string
	before map[string]func() // called at the start of a layer's Apply
	fail   map[string]error
	opened *agent.Opened // what netns answers
}

func (p *pieces) applied() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

type piece struct {
	*pieces
	name string
}

func (p piece) Traits() quarantine.Traits { return quarantine.Traits{Name: p.name} }

func (p piece) Prepare(quarantine.Scene, evidence.Target) ([]evidence.Change, error) { return nil, nil }

func (p piece) Apply(ctx context.Context, c evidence.Change) (quarantine.Result, error) {
	if f := p.before[p.name]; f != nil {
		f()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c.ID)
	if err := p.fail[c.ID]; err != nil {
		return quarantine.Result{}, err
	}
	r := quarantine.Result{UID: "u"}
	if p.name == quarantine.LayerNetns {
		r.Opened = p.opened
	}
	return r, nil
}

func (p piece) Release(context.Context, evidence.Change) (quarantine.Result, error) {
	return quarantine.Result{}, errors.New("an isolation releases nothing")
}

// memory is a custody log that is not on disk.
type memory struct {
	mu      sync.Mutex
	records []evidence.Record
}

func (m *memory) Append(ctx context.Context, r evidence.Record) (evidence.Record, evidence.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return r, evidence.Digest{}, err
	}
	m.records = append(m.records, r)
	return r, evidence.Digest{}, nil
}

// site has every layer, each with the changes that are named, "netpol 2" for two.
func (p *pieces) site(log *memory, layers ...string) *playbooks.Site {
	s := &playbooks.Site{
		Now: time.Now, Progress: func(string, ...any) {}, Layers: map[string]quarantine.Layer{},
		Journal: playbooks.NewJournal(log, log.records, cluster.WithAudit), Watch: playbooks.NewWatch(quarantine.Scene{}, "c-1", time.Now()),
		Hands: playbooks.NewHands(newStarter(), targetPod()),
	}
	for _, name := range layers {
		n := 1
		if two, ok := strings.CutSuffix(name, " 2"); ok {
			name, n = two, 2
		}
		s.Layers[name] = piece{p, name}
		s.Want.Layers = append(s.Want.Layers, name)
		for i := range n {
			s.Look.Changes = append(s.Look.Changes, evidence.Change{ID: fmt.Sprint(name, i+1), Layer: name, Why: "try"})
		}
	}
	return s
}

// isolateAll is the step with every layer.
func isolateAll(t *testing.T, s *playbooks.Site) (playbooks.Outcome, error) {
	t.Helper()
	b, faults := newIsolate(&yaml.Node{Kind: yaml.MappingNode})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return b.Build(s).Run(t.Context(), theTarget(), nil)
}

// fates are what became of the layers, for the verdict.
func fates(s *playbooks.Site) map[string]string {
	out := map[string]string{}
	for _, a := range s.Watch.Measurements().Applied {
		out[a.Layer] = a.Error
	}
	return out
}

func everyLayer() []string { return []string{"netns", "netpol 2", "label", "detach", "cordon"} }

// An image pull that takes minutes delays nothing but the cut.
func TestASlowHandDelaysNoOtherLayer(t *testing.T) {
	others := make(chan struct{})
	p := &pieces{}
	p.before = map[string]func(){"netns": func() { <-others }}
	s := p.site(&memory{}, everyLayer()...)
	s.Progress = func(format string, args ...any) {
		if done := p.applied(); len(done) == 5 && format == "%s holds" {
			select {
			case <-others:
			default:
				close(others)
			}
		}
	}
	out, err := isolateAll(t, s)
	if err != nil || out.Summary != "applied: cordon, detach, label, netns, netpol" {
		t.Errorf("%q, %v", out.Summary, err)
	}
	done := p.applied()
	if done[len(done)-1] != "netns1" || slices.Index(done, "netpol2") < slices.Index(done, "netpol1") {
		t.Errorf("in this order: %q", done)
	}
}

// And a cluster that is slow to write labels delays the cut by nothing.
func TestASlowPolicyDelaysNoCut(t *testing.T) {
	cut := make(chan struct{})
	p := &pieces{opened: &agent.Opened{Cut: &evidence.CutReport{}}}
	p.before = map[string]func(){"netpol": func() { <-cut }, "label": func() { <-cut }, "cordon": func() { <-cut }}
	s := p.site(&memory{}, everyLayer()...)
	s.Progress = func(format string, args ...any) {
		if format == "%s holds" && args[0] == "netns" {
			close(cut)
		}
	}
	if _, err := isolateAll(t, s); err != nil {
		t.Fatal(err)
	}
	if done := p.applied(); done[0] != "netns1" || len(done) != 6 || s.Watch.Measurements().Cut == nil {
		t.Errorf("in this order: %q", done)
	}
}

func TestLabelsAreStrippedOnlyWhenTheMarkIsOn(t *testing.T) {
	p := &pieces{}
	p.before = map[string]func(){"label": func() { time.Sleep(20 * time.Millisecond) }}
	if _, err := isolateAll(t, p.site(&memory{}, everyLayer()...)); err != nil {
		t.Fatal(err)
	}
	if done := p.applied(); slices.Index(done, "detach1") < slices.Index(done, "label1") {
		t.Errorf("in this order: %q", done)
	}
	// Another case's mark is on: then this pod is not ours, and nothing else is so much as
	// intended.
	p = &pieces{fail: map[string]error{"label1": quarantine.ErrForeign}}
	log := &memory{}
	s := p.site(log, everyLayer()...)
	_, err := isolateAll(t, s)
	if !errors.Is(err, quarantine.ErrForeign) || !slices.Equal(p.applied(), []string{"label1"}) {
		t.Errorf("%v, %q", err, p.applied())
	}
	f := fates(s)
	for _, layer := range []string{"netns", "label", "netpol", "detach", "cordon"} {
		if f[layer] == "" {
			t.Errorf("%s is said to hold: %q", layer, f)
		}
	}
	for _, r := range log.records {
		if r.Change != nil && r.Change.Layer != "label" {
			t.Errorf("recorded: %+v", r)
		}
	}
}

func TestWhatBecameOfEachLayerIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		fail  map[string]error
		fates map[string]string
		said  string // in the error
	}{
		"all well":            {nil, map[string]string{"netns": "", "netpol": "", "label": "", "detach": "", "cordon": ""}, ""},
		"no hand":             {map[string]error{"netns1": agent.ErrGone}, map[string]string{"netns": "hand is gone", "netpol": "", "label": "", "detach": "", "cordon": ""}, "layer netns: hand is gone"},
		"the second policy":   {map[string]error{"netpol2": errors.New("quota")}, map[string]string{"netns": "", "netpol": "quota", "label": "", "detach": "", "cordon": ""}, "layer netpol: quota"},
		"cordon is a request": {map[string]error{"cordon1": errors.New("forbidden")}, map[string]string{"netns": "", "netpol": "", "label": "", "detach": "", "cordon": "forbidden"}, ""},
		"several": {map[string]error{"netns1": errors.New("x"), "netpol1": errors.New("y")},
			map[string]string{"netns": "x", "netpol": "y", "label": "", "detach": "", "cordon": ""}, "layer netns: x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pieces{fail: c.fail}
			s := p.site(&memory{}, everyLayer()...)
			out, err := isolateAll(t, s)
			if (err == nil) != (c.said == "") || err != nil && !strings.Contains(err.Error(), c.said) {
				t.Errorf("error %v, want %q", err, c.said)
			}
			if got := fates(s); !maps.Equal(got, c.fates) {
				t.Errorf("%q, want %q", got, c.fates)
			}
			for layer, wrong := range c.fates {
				if strings.Contains(out.Summary, layer) != (wrong == "") {
					t.Errorf("the summary says %q", out.Summary)
				}
			}
			if name == "the second policy" && !slices.Contains(p.applied(), "netpol1") {
				t.Error("the first policy was not made")
			}
		})
	}
}

// What was not asked for, or cannot be here, is not tried and not said to hold.
func TestSkippedAndRefusedLayersAreNotSaidToHold(t *testing.T) {
	p := &pieces{}
	s := p.site(&memory{}, everyLayer()...)
	s.Want.Layers = slices.DeleteFunc(s.Want.Layers, func(l string) bool { return l == "netns" })
	s.Look.Forecast.Refused = []string{"netpol"}
	out, err := isolateAll(t, s)
	if got := slices.Sorted(maps.Keys(fates(s))); err != nil || !slices.Equal(got, []string{"cordon", "detach", "label"}) {
		t.Errorf("%q, %v", got, err)
	}
	if out.Summary != "applied: cordon, detach, label" || slices.ContainsFunc(p.applied(), func(c string) bool { return strings.HasPrefix(c, "net") }) {
		t.Errorf("%q, %q", out.Summary, p.applied())
	}
	// A playbook's step has its own layers of those that the order has.
	p = &pieces{}
	s = p.site(&memory{}, everyLayer()...)
	b, _ := newIsolate(mapping(t, "layers: [cordon]"))
	if _, err := b.Build(s).Run(t.Context(), theTarget(), nil); err != nil || !slices.Equal(p.applied(), []string{"cordon1"}) {
		t.Errorf("%q, %v", p.applied(), err)
	}
}

func mapping(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

// A session that is run again writes nothing twice, but asks for the cut once more: the
// hand may have ended, and the cut never does.
func TestRunAgainOnlyTheCutIsAskedFor(t *testing.T) {
	opened := agent.Opened{Cut: &evidence.CutReport{}, Baseline: []evidence.ProbeResult{{Answered: true}}}
	log := &memory{}
	first := &pieces{opened: &opened, fail: map[string]error{"detach1": errors.New("conflict")}}
	if _, err := isolateAll(t, first.site(log, everyLayer()...)); err == nil {
		t.Fatal("no error")
	}
	again := &pieces{opened: &agent.Opened{Again: true}}
	s := again.site(log, everyLayer()...)
	if _, err := isolateAll(t, s); err != nil {
		t.Fatal(err)
	}
	done := again.applied()
	slices.Sort(done)
	if !slices.Equal(done, []string{"detach1", "netns1"}) {
		t.Errorf("asked again for %q", done)
	}
	if m := s.Watch.Measurements(); m.Cut == nil || len(m.Baseline) != 1 || len(m.Applied) != 5 {
		t.Errorf("what the first run saw is lost: %+v", m)
	}
	// A cut that cannot be had again is said.
	gone := &pieces{fail: map[string]error{"netns1": agent.ErrGone}}
	s = gone.site(log, everyLayer()...)
	if _, err := isolateAll(t, s); !errors.Is(err, agent.ErrGone) || !strings.Contains(err.Error(), "asked for again") {
		t.Errorf("%v", err)
	}
	if fates(s)["netns"] == "" {
		t.Error("a cut that could not be had again is said to hold")
	}
	raw, err := json.Marshal(log.records)
	if err != nil || strings.Contains(string(raw), `"float`) {
		t.Error(err)
	}
}

// Without a probe pod the isolation goes on: what it would have told is unknown.
func TestNoProbePodIsNoReasonToStop(t *testing.T) {
	p := &pieces{}
	s := p.site(&memory{}, everyLayer()...)
	start := newStarter()
	start.refuse = map[string]error{"probe": errors.New("namespace irkit-system is not there")}
	s.Hands = playbooks.NewHands(start, targetPod())
	var said []string
	var mu sync.Mutex
	s.Progress = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf(format, args...))
	}
	if _, err := isolateAll(t, s); err != nil || !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "irkit-system") }) {
		t.Errorf("%v, %q", err, said)
	}
}

func TestIsolateReadsItsLayers(t *testing.T) {
	for text, want := range map[string]string{
		"{}": "netns label netpol deny detach protect cordon", "layers: [netns]": "netns", "layers: [detach]": "label detach", "layers: [protect]": "label protect", "layers: [netpol, cordon]": "label netpol cordon",
	} {
		b, faults := newIsolate(mapping(t, text))
		if n := b.Needs(); len(faults) > 0 || strings.Join(n.Layers, " ") != want || n.Hand != strings.Contains(want, "netns") || !n.Probe {
			t.Errorf("%s: %+v, %v", text, n, faults)
		}
	}
	for _, text := range []string{"layers: [label]", "layers: [netns, netns]", "layers: netns", "layers: []", "layer: [netns]"} {
		if _, faults := newIsolate(mapping(t, text)); len(faults) == 0 {
			t.Errorf("%s is taken", text)
		}
	}
}
