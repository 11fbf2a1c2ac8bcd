package playbooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// TestLadder: beside the target where admission lets it; else on the node, one for all
// containers, with the reason in its record; and it is gone at the end.
func TestLadder(t *testing.T) {
	forbidden := &debugger.NoProfileError{Container: "app", Refused: []debugger.Refusal{{Profile: debugger.P1N, Reason: "violates PodSecurity"}}}
	for name, c := range map[string]struct {
		err       error
		forCut    bool // a node pod makes the cut
		forBeside bool // and is asked to read
		why       string
	}{
		"admission":      {forbidden, true, true, "violates PodSecurity"},
		"static pod":     {fmt.Errorf("start: %w", debugger.ErrStaticPod), true, true, "static pods take no"},
		"old cluster":    {debugger.ErrUnsupported, true, true, "has no ephemeral"},
		"runtime":        {&debugger.StartError{Err: debugger.ErrConfig}, true, true, "cannot be created"},
		"no image":       {&debugger.StartError{Err: debugger.ErrImage}, true, false, "image"},
		"replaced":       {fmt.Errorf("start: %w", debugger.ErrReplaced), false, false, ""},
		"container down": {debugger.ErrTargetDown, true, false, "not running"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStarter()
			s.refuse = func(container string) error {
				if container == "node" {
					return nil
				}
				return c.err
			}
			h := NewHands(s, pod())
			hand, err := h.Beside(t.Context(), "side")
			if (err == nil) != c.forBeside {
				t.Errorf("to read: %v, %v", hand, err)
			}
			hand, err = h.Cutter(t.Context())
			if (err == nil) != c.forCut || c.forCut && !hand.Info().Profile.Cuts() {
				t.Fatalf("to cut: %v, %v", hand, err)
			}
			if !c.forCut {
				if !errors.Is(err, c.err) || slices.Contains(s.started, "node") {
					t.Errorf("%q: %v", s.started, err)
				}
				return
			}
			if r := hand.Info().Refused; len(r) == 0 || !strings.Contains(r[0].Reason, c.why) {
				t.Errorf("refused: %+v, want %q", r, c.why)
			}
			for _, container := range h.Containers() {
				if again, err := h.Beside(t.Context(), container); again != hand || err != nil {
					t.Errorf("%s is read by %v, %v", container, again, err)
				}
			}
			if started := h.Started(); len(started) != 1 || started[0] != hand || h.Ours("node") {
				t.Errorf("standing: %v; a container of the target's counts as ours: %v", started, h.Ours("node"))
			}
			// It holds the cut, and goes all the same: the cut needs nobody.
			if err := h.Close(t.Context(), true); err != nil || s.nodes != 1 || !slices.Equal(s.hands["node"].Calls(), []string{"end"}) {
				t.Errorf("%v; ended %d times: %q", err, s.nodes, s.hands["node"].Calls())
			}
		})
	}
}

// TestAHandThatMayNotCutReads, and the node pod, once it made the cut, reads instead: it
// has what was read before.
func TestTheNodePodCutsForAHandThatMayNot(t *testing.T) {
	s := newStarter()
	h := NewHands(weaker{s}, pod())
	hand, err := h.Cutter(t.Context())
	if err != nil || hand.Info().Profile != debugger.Node {
		t.Fatalf("%v, %v", hand, err)
	}
	if r := hand.Info().Refused; len(r) != 2 || !strings.Contains(r[0].Reason, "profile P1 has no NET_ADMIN; P1N: forbidden by policy") {
		t.Errorf("refused: %+v", r)
	}
	if reads, err := h.Beside(t.Context(), "side"); reads != hand || err != nil {
		t.Errorf("%v, %v", reads, err)
	}
	if err := h.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for name, hand := range s.hands {
		if calls := hand.Calls(); !slices.Equal(calls, []string{"end"}) {
			t.Errorf("%s: %q", name, calls)
		}
	}
}

// TestANodePodThatIsCutShortIsTakenAway: Ctrl-C while it starts.
func TestANodePodThatIsCutShortIsTakenAway(t *testing.T) {
	s := newStarter()
	s.refuse = func(name string) error {
		if name == "node" {
			return context.Canceled
		}
		return debugger.ErrStaticPod
	}
	h := NewHands(s, pod())
	if _, err := h.Beside(t.Context(), "app"); !errors.Is(err, context.Canceled) || !errors.Is(err, debugger.ErrStaticPod) {
		t.Errorf("%v", err)
	}
	if err := h.Close(t.Context(), true); err != nil || s.nodes != 1 {
		t.Errorf("ended %d times, %v", s.nodes, err)
	}
}

func TestANodePodMayBeThere(t *testing.T) {
	node := func(op evidence.Op, p evidence.Phase) evidence.Record {
		c := evidence.Change{ID: "hand/" + string(op), Layer: "hand", Op: op, Object: evidence.Object{Kind: "Pod", Namespace: "irkit-node", Name: nodepod.Name("case", target())}}
		return evidence.Record{Action: evidence.ActHand, Phase: p, Change: &c}
	}
	begun, made, failed := node(evidence.OpCreate, evidence.Intend), node(evidence.OpCreate, evidence.Did), node(evidence.OpCreate, evidence.FailedP)
	ending, ended := node(evidence.OpDelete, evidence.Intend), node(evidence.OpDelete, evidence.Did)
	hand := evidence.Record{Action: evidence.ActHand, Phase: evidence.Did, Change: &evidence.Change{ID: "hand", Layer: "hand", Op: evidence.OpInject}}
	for name, c := range map[string]struct {
		records    []evidence.Record
		left, made bool
	}{
		"nothing":      {nil, false, false},
		"another hand": {[]evidence.Record{{Action: evidence.ActOpened}, hand}, false, false},
		"begun":        {[]evidence.Record{begun}, true, false},
		"failed":       {[]evidence.Record{begun, failed}, true, false}, // its answer may have been lost
		"made":         {[]evidence.Record{begun, made, hand}, true, true},
		"ending":       {[]evidence.Record{begun, made, ending}, true, true},
		"ended":        {[]evidence.Record{begun, made, ending, ended}, false, true},
		"made again":   {[]evidence.Record{begun, made, ending, ended, begun}, true, true},
	} {
		if left, cut := nodePodLeft(c.records), cutFromNode(c.records); (left != "") != c.left || cut != c.made {
			t.Errorf("%s: left %q, made %v", name, left, cut)
		}
	}
}

// TestPlanNamesTheNodePod: in a namespace that admits no hand the plan says where the cut
// comes from, or what is missing for it and which command sets it up.
func TestPlanNamesTheNodePod(t *testing.T) {
	look := func(t *testing.T, setUp bool, level string) Prospect {
		t.Helper()
		r := newResponder(t)
		api := r.Conn.Client.CoreV1().Namespaces()
		ns := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod", Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
		if _, err := api.Update(t.Context(), &ns, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if setUp {
			if _, err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "irkit-node"}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		live := pod()
		live.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		if _, err := r.Conn.Client.CoreV1().Pods("prod").UpdateStatus(t.Context(), live, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		o := order(deed{id: "cut", needs: Needs{Hand: true, Layers: []string{quarantine.LayerNetns}}})
		o.Image = "agent:1"
		p, err := r.Look(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	found := func(p Prospect, code string) string {
		for _, f := range p.Forecast.Findings {
			if f.Code == code {
				return f.Text
			}
		}
		return ""
	}
	p := look(t, true, "restricted")
	if hands := p.ChangesOf("hand"); len(hands) != 1 || !nodepod.Is(hands[0]) || !strings.Contains(found(p, "node-pod"), "the cut will be made from a node pod in irkit-node") {
		t.Errorf("hands %+v, findings %+v", hands, p.Forecast.Findings)
	}
	p = look(t, false, "baseline")
	if text := found(p, "node-pod-missing"); !strings.Contains(text, "namespace irkit-node is not there") || !strings.Contains(text, nodepod.Setup) || len(p.ChangesOf("hand")) != 2 {
		t.Errorf("%q, %+v", text, p.ChangesOf("hand"))
	}
	if p := look(t, true, "privileged"); found(p, "node-pod") != "" || len(p.ChangesOf("hand")) != 2 {
		t.Errorf("%+v", p.Forecast.Findings)
	}
}
