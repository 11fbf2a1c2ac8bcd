package actions

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// collected is a plan that only collects.
func collected(t *testing.T, text string) *playbooks.Plan {
	t.Helper()
	p, err := playbooks.Compile("c.yaml", []byte("apiVersion: irkit.dev/v1alpha1\nkind: Playbook\nmetadata: {name: c}\nsteps: [{id: all, collect: "+text+"}]\n"), Standard())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asked are the kinds that hands were asked for, all hands together, in order.
type asked struct {
	mu    sync.Mutex
	kinds []string
}

func (a *asked) note(h *handtest.Hand) {
	h.Fail = func(call string) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if kind, ok := strings.CutPrefix(call, "collect "); ok {
			a.kinds = append(a.kinds, kind)
		}
		return nil
	}
}

func TestWhatFadesFirstIsTakenFirstOfAllContainers(t *testing.T) {
	n, a := newNight(t), &asked{}
	n.hands.tune = a.note
	got := n.contain(t.Context(), t, func(o *playbooks.Order) {
		o.Plan = collected(t, "{artifacts: [filesystem, objects, processes, logs, environment, recovered, persistence]}")
	})
	want := []string{"processes", "processes", "environment", "environment", "recovered", "recovered", "persistence", "persistence", "filesystem", "filesystem"}
	if !slices.Equal(a.kinds, want) {
		t.Errorf("asked in this order: %q", a.kinds)
	}
	if got.Verdict != nil || len(n.policies(t)) != 0 || len(n.pod(t).OwnerReferences) != 1 {
		t.Error("collecting changed the target")
	}
	var captured []string
	h, err := n.Cases.History("c-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range h.Records {
		if r.Action == evidence.ActCaptured && r.Data["collector"] != nil {
			captured = append(captured, r.Data["collector"].(string))
		}
	}
	for _, name := range []string{"processes-c0", "filesystem-c1", "events", "objects", "logs"} {
		if !slices.Contains(captured, name) {
			t.Errorf("custody does not tell of %s: %q", name, captured)
		}
	}
}

// A bundle that was left open is gone on with: what a collector gave as a whole is not
// asked for again, what it was in the middle of is.
func TestAnOpenBundleIsGoneOnWith(t *testing.T) {
	n := newNight(t)
	left := filepath.Join(t.TempDir(), "home")
	var once sync.Once
	n.hands.tune = func(h *handtest.Hand) {
		h.Fail = func(call string) error {
			if call == "collect mounts" && h.Where.Beside == "side" {
				once.Do(func() { // kill -9 would leave this
					if err := os.CopyFS(left, os.DirFS(n.Cases.Home)); err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		}
	}
	n.contain(t.Context(), t, func(o *playbooks.Order) { o.Plan = hasty(o.Plan) })
	cuts := func() int { _, made := n.hands.net.Cut(); return made }
	before, writes := cuts(), n.writes()

	a := &asked{}
	n.hands.tune, n.Cases.Home = a.note, left
	got := n.contain(t.Context(), t, func(o *playbooks.Order) { o.Plan = hasty(o.Plan) })
	if !got.Resumed || len(got.Failed) > 0 || cuts() != before || n.writes() != writes {
		t.Errorf("resumed %v, failed %q, %d more cuts, %d more writes", got.Resumed, got.Failed, cuts()-before, n.writes()-writes)
	}
	want := []string{"mounts", "recovered", "recovered", "persistence", "persistence", "filesystem", "filesystem"}
	if !slices.Equal(a.kinds, want) {
		t.Errorf("asked again for %q, want %q", a.kinds, want)
	}
	rows := completeness(t, got.Bundle)
	for _, kind := range beside.Kinds() {
		for _, c := range []string{"c0", "c1"} {
			if r := rows[kind+" "+c]; r.Status != evidence.Collected {
				t.Errorf("%s of %s: %s (%s)", kind, c, r.Status, r.Reason)
			}
		}
	}
	if got.Verdict == nil || got.Verdict.State != evidence.Contained {
		t.Errorf("%+v", got.Verdict)
	}
}

// With one hand for all containers, each is asked for by its identifier.
func TestOneHandForAllContainersIsToldWhichIsMeant(t *testing.T) {
	n, yes := newNight(t), true
	pod := targetPod()
	pod.Spec.ShareProcessNamespace = &yes
	n.hands.tune = func(h *handtest.Hand) { h.Where.SharedPIDs = true }
	var ids []string
	n.Starter = func(debugger.Host, evidence.Target) playbooks.Starter {
		return listening{n.hands, func(_ string, r agent.Request) { ids = append(ids, r.ContainerID) }}
	}
	n.contain(t.Context(), t, func(o *playbooks.Order) { o.Pod, o.Plan = pod, collected(t, "{artifacts: [processes]}") })
	if !slices.Equal(ids, []string{"aa", "bb"}) || len(n.hands.started) != 1 {
		t.Errorf("asked for containers %q by %q", ids, n.hands.started)
	}
}

// Memory is taken when a person or a playbook asks for it, once, and never else.
func TestMemoryIsTakenOnlyWhenAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		order, plan, want string
		kinds             int
	}{
		"nobody":       {"", "{}", "", 0},
		"the person":   {"anon-exec", "{artifacts: [processes, mounts]}", "anon-exec", 2},
		"the playbook": {"", "{artifacts: [processes, memory], memory: all}", "all", 2},
		"its word":     {"", "{artifacts: [processes], memory: 17}", "17", 2},
		"both":         {"7", "{artifacts: [memory], memory: all}", "all", 2},
		"kind alone":   {"", "{artifacts: [memory]}", "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNight(t)
			var asked []agent.Request
			var mu sync.Mutex
			n.Starter = func(debugger.Host, evidence.Target) playbooks.Starter {
				return listening{n.hands, func(_ string, r agent.Request) {
					mu.Lock()
					defer mu.Unlock()
					if r.Kind == "memory" {
						asked = append(asked, r)
					}
					if r.MaxBytes != 1<<20 {
						t.Errorf("%s: %d bytes at most", r.Kind, r.MaxBytes)
					}
				}}
			}
			got := n.contain(t.Context(), t, func(o *playbooks.Order) {
				o.Plan, o.Memory, o.MaxBytes = collected(t, c.plan), c.order, 1<<20
			})
			if len(asked) != c.kinds {
				t.Fatalf("asked %d times: %+v", len(asked), asked)
			}
			for _, r := range asked {
				if r.Memory != c.want {
					t.Errorf("memory of %q, want %q", r.Memory, c.want)
				}
			}
			row, there := completeness(t, got.Bundle)["memory c0"]
			if there != (c.kinds > 0) || there && row.Status != evidence.Collected {
				t.Errorf("completeness: %v %+v", there, row)
			}
		})
	}
	for _, bad := range []string{"{memory: everything}", "{memory: -1}", "{memory: 0}", "{artifacts: [dreams]}"} {
		text := "apiVersion: irkit.dev/v1alpha1\nkind: Playbook\nmetadata: {name: c}\nsteps: [{id: all, collect: " + bad + "}]\n"
		if _, err := playbooks.Compile("c.yaml", []byte(text), Standard()); err == nil || !strings.Contains(err.Error(), "c.yaml:4:") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What an order asks for beside its playbook comes with the first step alone.
func TestWhatIsAskedForBesideComesOnce(t *testing.T) {
	n, a := newNight(t), &asked{}
	n.hands.tune = a.note
	n.contain(t.Context(), t, func(o *playbooks.Order) {
		o.Plan = collected(t, "{artifacts: [logs]}}, {id: then, collect: {artifacts: [processes]}}, {id: last, collect: {artifacts: [filesystem]}")
		o.Memory, o.Packets = "all", time.Second
	})
	want := []string{"processes", "processes", "memory", "memory", "packets", "filesystem", "filesystem"}
	if !slices.Equal(a.kinds, want) {
		t.Errorf("asked in this order: %q", a.kinds)
	}
}

// Packets are recorded once, of the pod, when a person or a playbook asks for them; of the
// node's network never.
func TestPacketsAreOfThePod(t *testing.T) {
	for name, c := range map[string]struct {
		order  time.Duration
		plan   string
		host   bool
		want   time.Duration
		asked  int
		status evidence.Status
	}{
		"nobody":         {0, "{}", false, 0, 0, ""},
		"the person":     {time.Second, "{artifacts: [processes]}", false, time.Second, 1, evidence.Collected},
		"the playbook":   {time.Second, "{artifacts: [processes], packets: 5s}", false, 5 * time.Second, 1, evidence.Collected},
		"kind alone":     {0, "{artifacts: [packets]}", false, 0, 1, evidence.Collected},
		"node's network": {time.Second, "{artifacts: [processes]}", true, 0, 0, evidence.LeftOut},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNight(t)
			var mu sync.Mutex
			var asked []agent.Request
			n.Starter = func(h debugger.Host, _ evidence.Target) playbooks.Starter {
				if h.Packets != (c.status != "") {
					t.Errorf("the hand may record packets: %v", h.Packets)
				}
				return listening{n.hands, func(_ string, r agent.Request) {
					mu.Lock()
					defer mu.Unlock()
					if r.Kind == "packets" {
						asked = append(asked, r)
					}
				}}
			}
			got := n.contain(t.Context(), t, func(o *playbooks.Order) {
				o.Plan, o.Packets, o.Pod = collected(t, c.plan), c.order, targetPod()
				o.Pod.Spec.HostNetwork = c.host
			})
			if len(asked) != c.asked || c.asked > 0 && asked[0].Window != c.want {
				t.Errorf("asked %+v, want %d for %s", asked, c.asked, c.want)
			}
			if row, there := completeness(t, got.Bundle)["packets pod"]; there != (c.status != "") || row.Status != c.status {
				t.Errorf("completeness: %v %+v", there, row)
			}
		})
	}
}

func TestACancelledCollectionAsksForNothingMore(t *testing.T) {
	n := newNight(t)
	ctx, stop := context.WithCancel(t.Context())
	a := &asked{}
	n.hands.tune = func(h *handtest.Hand) {
		a.note(h)
		note := h.Fail
		h.Fail = func(call string) error {
			if call == "collect processes" {
				stop()
			}
			return note(call)
		}
	}
	got := n.contain(ctx, t, func(o *playbooks.Order) { o.Plan = collected(t, "{}") })
	if !got.Interrupted || len(a.kinds) > 2 {
		t.Errorf("interrupted %v, asked for %q", got.Interrupted, a.kinds)
	}
}

func TestCollectReadsItsArtifacts(t *testing.T) {
	for text, want := range map[string]struct {
		artifacts int
		hand      bool
	}{
		"{}": {10, true}, "artifacts: [logs, objects]": {2, false}, "artifacts: [logs, mounts]": {2, true},
	} {
		b, faults := newCollect(mapping(t, text))
		if need := b.Needs(); len(faults) > 0 || len(need.Artifacts) != want.artifacts || need.Hand != want.hand {
			t.Errorf("%s: %+v, %v", text, need, faults)
		}
	}
	for _, text := range []string{"artifacts: [secrets]", "artifacts: []", "artifacts: logs", "artefacts: [logs]"} {
		if _, faults := newCollect(mapping(t, text)); len(faults) == 0 {
			t.Errorf("%s is taken", text)
		}
	}
}
