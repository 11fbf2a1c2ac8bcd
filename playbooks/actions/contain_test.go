package actions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

func TestContainProvesCollectsAndIsTakenBack(t *testing.T) {
	n := newNight(t)
	got := n.contain(t.Context(), t)
	if len(got.Failed) > 0 || got.Verdict == nil || got.Verdict.State != evidence.Contained || got.Verdict.PolicyHeld == nil {
		t.Fatalf("failed %q, missing %d, verdict %+v", got.Failed, got.Missing, got.Verdict)
	}
	p := n.pod(t)
	if p.Labels[evidence.LabelQuarantine] != "c-1" || p.Labels["app"] != "" || len(p.OwnerReferences) != 0 || p.Annotations[evidence.AnnotationOriginal] == "" {
		t.Errorf("the pod: labels %v, owners %v", p.Labels, p.OwnerReferences)
	}
	if cut, times := n.hands.net.Cut(); !cut || times != 1 || len(n.policies(t)) == 0 || !n.node(t).Spec.Unschedulable {
		t.Errorf("cut %v (%d times), policies %q, cordoned %v", cut, times, n.policies(t), n.node(t).Spec.Unschedulable)
	}
	var altered []evidence.Alteration
	readJSON(t, filepath.Join(got.Bundle, filepath.FromSlash(evidence.ObserverJSON)), &altered)
	if !slices.ContainsFunc(altered, func(a evidence.Alteration) bool { return strings.Contains(a.What, "holes in the cut") }) {
		t.Errorf("the holes are not told: %+v", altered)
	}
	rows := completeness(t, got.Bundle)
	for what, r := range rows {
		if r.Status == evidence.Impossible || r.Status == evidence.Truncated {
			t.Errorf("%s: %s (%s)", what, r.Status, r.Reason)
		}
	}
	for _, kind := range []string{"processes", "connections", "environment", "open-files", "mounts", "recovered", "persistence", "filesystem"} {
		for _, c := range []string{"c0", "c1"} {
			if r := rows[kind+" "+c]; r.Status != evidence.Collected || r.Size == 0 {
				t.Errorf("%s of %s: %+v", kind, c, r)
			}
		}
	}
	if rows["pod pod"].Size == 0 || rows["log-current c0"].Size == 0 {
		t.Errorf("pod %+v, log %+v", rows["pod pod"], rows["log-current c0"])
	}
	s, err := n.Cases.Recall("c-1")
	if err != nil || len(s.Changes) != 7 || len(s.Unsure)+len(s.Faults) != 0 || s.Before != "CONTAINED" {
		t.Errorf("status: %+v, %v", s, err)
	}
	writes := n.writes()
	if err := n.Measure(t.Context(), &s); err != nil || len(s.Drift) > 0 || s.Live != "Running" || s.Hand != "answers" || n.writes() != writes ||
		s.Cut == nil || s.Verdict == nil || s.Verdict.Outbound != evidence.Contained {
		t.Errorf("measured anew: %+v, %v, %d writes", s, err, n.writes()-writes)
	}

	back := n.release(t, quarantine.ToService)
	if len(back.Failed) > 0 {
		t.Fatalf("release: %q", back.Failed)
	}
	p = n.pod(t)
	if want := targetPod().Labels; !maps.Equal(p.Labels, want) || len(p.Annotations) != 0 || len(n.policies(t)) != 0 || n.node(t).Spec.Unschedulable {
		t.Errorf("after: labels %v, annotations %v, policies %q, cordoned %v", p.Labels, p.Annotations, n.policies(t), n.node(t).Spec.Unschedulable)
	}
	if cut, _ := n.hands.net.Cut(); cut {
		t.Error("the cut stands")
	}
	writes = n.writes()
	if again := n.release(t, quarantine.ToService); len(again.Failed) > 0 || n.writes() != writes {
		t.Errorf("released twice: %q, %d writes", again.Failed, n.writes()-writes)
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released || len(s.Changes)+len(s.Unsure) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, open, err := n.Cases.OpenOf(theTarget().UID); err != nil || open {
		t.Errorf("the case is open (%v)", err)
	}
	// And the next night it is contained anew, whole.
	if got := n.contain(t.Context(), t); got.Verdict.State != evidence.Contained || n.pod(t).Labels[evidence.LabelQuarantine] != "c-1" {
		t.Errorf("contained again: %+v", got.Verdict)
	}
	if cut, times := n.hands.net.Cut(); !cut || times != 2 {
		t.Errorf("cut %v, %d times", cut, times)
	}
}

// Where something goes wrong, the rest is done, and the result says what is missing.
func TestContainWithThingsGoingWrong(t *testing.T) {
	for name, c := range map[string]struct {
		wrong func(*night)
		check func(*testing.T, *night, playbooks.Result)
	}{
		"no hand at all": {
			func(n *night) {
				n.hands.refuse = map[string]error{"app": errors.New("admission denied"), "side": errors.New("admission denied")}
			},
			func(t *testing.T, n *night, got playbooks.Result) {
				rows := completeness(t, got.Bundle)
				if r := rows["filesystem c1"]; r.Status != evidence.Impossible || !strings.Contains(r.Reason, "admission denied") {
					t.Errorf("%+v", r)
				}
				if got.Missing != 16 || len(n.policies(t)) == 0 || n.pod(t).Labels["app"] != "" || rows["pod pod"].Size == 0 {
					t.Errorf("missing %d, policies %q", got.Missing, n.policies(t))
				}
				if !slices.ContainsFunc(got.Failed, func(s string) bool { return strings.Contains(s, "layer netns") }) {
					t.Errorf("failed %q", got.Failed)
				}
			},
		},
		"a torn stream": {
			func(n *night) {
				n.hands.tune = func(h *handtest.Hand) {
					h.Tear = func(kind string) bool { return kind == "filesystem" && h.Where.Beside == "app" }
				}
			},
			func(t *testing.T, n *night, got playbooks.Result) {
				rows := completeness(t, got.Bundle)
				if r := rows["filesystem c0"]; r.Status != evidence.Truncated || r.Size != 4 {
					t.Errorf("%+v", r)
				}
				if got.Missing != 1 || len(got.Failed) != 1 || got.Verdict.State != evidence.Contained || rows["filesystem c1"].Status != evidence.Collected {
					t.Errorf("missing %d, failed %q", got.Missing, got.Failed)
				}
			},
		},
		"no probe pod": {
			func(n *night) { n.hands.refuse = map[string]error{"probe": errors.New("no namespace irkit-system")} },
			func(t *testing.T, n *night, got playbooks.Result) {
				if got.Verdict.State != evidence.Partial || got.Verdict.Outbound != evidence.Contained || len(got.Failed) > 0 {
					t.Errorf("%s, outbound %s, failed %q", got.Verdict.State, got.Verdict.Outbound, got.Failed)
				}
			},
		},
		"a policy that the network ignores": {
			func(n *night) { n.hands.net.Policy = nil },
			func(t *testing.T, n *night, got playbooks.Result) {
				if got.Verdict.State != evidence.Contained || got.Verdict.PolicyHeld != nil {
					t.Errorf("%s, held %v", got.Verdict.State, got.Verdict.PolicyHeld)
				}
			},
		},
		"the pod is held by another case": {
			func(n *night) {
				n.client.PrependReactor("patch", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
					return true, nil, fmt.Errorf("between survey and write: %w", quarantine.ErrForeign)
				})
			},
			func(t *testing.T, n *night, got playbooks.Result) {
				if p := n.pod(t); p.Labels["app"] != "web" || len(p.OwnerReferences) != 1 {
					t.Errorf("the pod of another case was stripped: %v", p.Labels)
				}
				if len(got.Failed) == 0 {
					t.Error("no step failed")
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t)
			c.wrong(n)
			c.check(t, n, n.contain(t.Context(), t, func(o *playbooks.Order) { o.Plan = hasty(o.Plan) }))
		})
	}
}

// Ctrl-C in the middle of collecting: what was there is sealed, and running it again
// collects the rest in a further bundle. Isolation stands meanwhile.
func TestContainInterruptedAndRunAgain(t *testing.T) {
	n := newNight(t)
	ctx, stop := context.WithCancel(t.Context())
	n.hands.tune = func(h *handtest.Hand) {
		h.Fail = func(call string) error {
			if call == "collect open-files" {
				stop()
			}
			return nil
		}
	}
	got := n.contain(ctx, t)
	if !got.Interrupted || n.pod(t).Labels[evidence.LabelQuarantine] != "c-1" || got.Verdict == nil {
		t.Fatalf("%+v", got)
	}
	rows := completeness(t, got.Bundle)
	if rows["processes c1"].Status != evidence.Collected || rows["filesystem c0"].Status != evidence.Impossible {
		t.Errorf("processes %+v, filesystem %+v", rows["processes c1"], rows["filesystem c0"])
	}
	n.hands.tune = nil
	writes := n.writes()
	again := n.contain(t.Context(), t)
	if again.Interrupted || again.Bundle == got.Bundle || again.Missing > 0 || len(again.Failed) > 0 || n.writes() != writes {
		t.Errorf("%+v, %d writes", again, n.writes()-writes)
	}
}

// Secret values and tokens stay out: what a hand is asked for says so.
func TestHandsAreToldWhatStaysOut(t *testing.T) {
	n := newNight(t)
	spec := targetPod()
	spec.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}}
	asked := map[string]agent.Request{}
	var mu sync.Mutex
	n.Starter = func(debugger.Host, evidence.Target) playbooks.Starter {
		return listening{n.hands, func(container string, r agent.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked[container+" "+r.Kind] = r
		}}
	}
	n.contain(t.Context(), t, func(o *playbooks.Order) { o.Pod, o.Plan = spec, hasty(o.Plan) })
	if len(asked) != 16 {
		t.Fatalf("asked for %d artifacts", len(asked))
	}
	for what, r := range asked {
		if r.Values || len(r.HMACKey) != 32 {
			t.Errorf("%s: values %v, key of %d bytes", what, r.Values, len(r.HMACKey))
		}
		if strings.HasPrefix(what, "app ") != slices.Contains(r.SkipMounts, "/var/run/secrets") {
			t.Errorf("%s: left out %q", what, r.SkipMounts)
		}
	}
}
