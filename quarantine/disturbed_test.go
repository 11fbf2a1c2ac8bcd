package quarantine_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/cordon"
)

// held contains a pod of an owner in a fake cluster, as a session would.
func held(t *testing.T, owner string) (*cluster.Conn, *fake.Clientset, []quarantine.Done) {
	t.Helper()
	s, conn, client := scene(t, pod(owner))
	var done []quarantine.Done
	for _, l := range []quarantine.Layer{quarantine.NewLabel(conn, want), quarantine.NewNetpol(conn, want), quarantine.NewDetach(conn, want), quarantine.NewProtect(conn, holding), cordon.New(conn)} {
		changes, err := l.Prepare(s, target())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			r, err := l.Apply(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, quarantine.Done{Change: c, Data: raw})
		}
	}
	return conn, client, done
}

func disturbed(t *testing.T, conn *cluster.Conn, done []quarantine.Done) []evidence.Disturbance {
	t.Helper()
	m, err := quarantine.ReadMarks(t.Context(), conn, target(), done, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Gaps) > 0 {
		t.Errorf("gaps: %+v", m.Gaps)
	}
	return quarantine.Disturbed(m, done, map[string]int32{"web": 0})
}

func TestAnUntouchedContainmentIsNotDisturbed(t *testing.T) {
	for _, owner := range []string{"", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Rollout"} {
		conn, _, done := held(t, owner)
		if got := disturbed(t, conn, done); len(got) > 0 {
			t.Errorf("%s: %+v", owner, got)
		}
	}
}

func TestWhatOthersDoIsNamed(t *testing.T) {
	update := func(t *testing.T, conn *cluster.Conn, edit func(*corev1.Pod)) {
		p, err := conn.Client.CoreV1().Pods("prod").Get(t.Context(), "web-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		edit(p)
		if _, err := conn.Client.CoreV1().Pods("prod").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	yes := true
	for name, c := range map[string]struct {
		do   func(*testing.T, *cluster.Conn)
		code string
		says []string
	}{
		"labels put back": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) { p.Labels["app"] = "web" })
		}, evidence.LabelBack, []string{"app=web"}},
		"owner put back": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) {
				p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{Kind: "ReplicaSet", Name: "web-abc", Controller: &yes})
			})
		}, evidence.OwnerBack, []string{"ReplicaSet/web-abc"}},
		"mark taken": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) { delete(p.Labels, evidence.LabelQuarantine) })
		}, evidence.MarkGone, []string{evidence.LabelQuarantine, "is gone"}},
		"mark of another case": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) { p.Labels[evidence.LabelQuarantine] = "c-2" })
		}, evidence.MarkGone, []string{`is "c-2" now`}},
		"note taken": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) { delete(p.Annotations, evidence.AnnotationOriginal) })
		}, evidence.MarkGone, []string{evidence.AnnotationOriginal}},
		"protection taken": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) { delete(p.Annotations, "karpenter.sh/do-not-disrupt") })
		}, evidence.Unprotected, []string{"karpenter.sh/do-not-disrupt", "is gone"}},
		"finalizer taken": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) { p.Finalizers = nil })
		}, evidence.Unprotected, []string{evidence.Finalizer}},
		"budget deleted": {func(t *testing.T, conn *cluster.Conn) {
			if err := conn.Client.PolicyV1().PodDisruptionBudgets("prod").Delete(t.Context(), "irkit-quarantine-c-1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, evidence.PolicyGone, []string{"PodDisruptionBudget/irkit-quarantine-c-1"}},
		"policy deleted": {func(t *testing.T, conn *cluster.Conn) {
			if err := conn.Client.NetworkingV1().NetworkPolicies("prod").Delete(t.Context(), "irkit-quarantine-c-1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, evidence.PolicyGone, []string{"irkit-quarantine-c-1"}},
		"policy opened": {func(t *testing.T, conn *cluster.Conn) {
			api := conn.Client.NetworkingV1().NetworkPolicies("prod")
			p, err := api.Get(t.Context(), "irkit-quarantine-c-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
			if _, err := api.Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, evidence.PolicyChanged, []string{"irkit-quarantine-c-1"}},
		"policy for others": {func(t *testing.T, conn *cluster.Conn) {
			api := conn.Client.NetworkingV1().NetworkPolicies("prod")
			p, err := api.Get(t.Context(), "irkit-quarantine-c-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Spec.PodSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "x", Operator: metav1.LabelSelectorOpExists}}
			if _, err := api.Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, evidence.PolicyChanged, []string{"irkit-quarantine-c-1"}},
		"uncordoned": {func(t *testing.T, conn *cluster.Conn) {
			n, err := conn.Client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			n.Spec.Unschedulable = false
			if _, err := conn.Client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, evidence.Uncordoned, []string{"node n1 takes new pods again"}},
		"restarted": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].RestartCount = 2
				p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error", FinishedAt: metav1.Unix(700, 0)}
			})
		}, evidence.Restarted, []string{"restarted 2 times", "exit status 137", "liveness probe"}},
		"deleted with grace": {func(t *testing.T, conn *cluster.Conn) {
			update(t, conn, func(p *corev1.Pod) {
				p.Finalizers, p.DeletionTimestamp = append(p.Finalizers, "example.com/slow"), &metav1.Time{Time: time.Unix(3600, 0)}
			})
		}, evidence.Deleting, []string{"until 01:00:00 UTC"}},
	} {
		conn, _, done := held(t, "ReplicaSet")
		c.do(t, conn)
		got := disturbed(t, conn, done)
		if len(got) != 1 || got[0].Code != c.code || !got[0].At.Equal(time.Unix(1, 0)) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		for _, w := range c.says {
			if !strings.Contains(got[0].Text, w) {
				t.Errorf("%s: %q does not say %q", name, got[0].Text, w)
			}
		}
	}
}

// The API server's managedFields tell who wrote a field last; irkit is never the answer.
func TestWhoDidItIsNamed(t *testing.T) {
	conn, _, done := held(t, "ReplicaSet")
	m, err := quarantine.ReadMarks(t.Context(), conn, target(), done, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	m.Pod.Labels["app"] = "web"
	m.Pod.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "irkit", Time: &metav1.Time{Time: time.Unix(900, 0)}, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:app":{}}}}`)},
		{Manager: "meddler", Time: &metav1.Time{Time: time.Unix(500, 0)}, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:app":{}}}}`)},
		{Manager: "bystander", Time: &metav1.Time{Time: time.Unix(600, 0)}, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)},
	}
	if got := quarantine.Disturbed(m, done, nil); len(got) != 1 || got[0].By != "meddler (1970-01-01T00:08:20Z)" {
		t.Errorf("%+v", got)
	}
	delete(m.Pod.Labels, "app")
	delete(m.Pod.Labels, evidence.LabelQuarantine) // nobody owns what is gone: who wrote last
	if got := quarantine.Disturbed(m, done, nil); len(got) != 1 || got[0].By != "bystander (1970-01-01T00:10:00Z)" {
		t.Errorf("%+v", got)
	}
}

// What cannot be read is no disturbance, and no proof of none.
func TestWhatCannotBeReadIsAGap(t *testing.T) {
	conn, client, done := held(t, "ReplicaSet")
	client.PrependReactor("get", "networkpolicies", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "networkpolicies"}, "x", errors.New("no"))
	})
	m, err := quarantine.ReadMarks(t.Context(), conn, target(), done, time.Unix(1, 0))
	if err != nil || len(m.Gaps) != 1 || len(quarantine.Disturbed(m, done, nil)) != 0 {
		t.Errorf("%+v, %v", m.Gaps, err)
	}
	replace(t, client)
	if _, err := quarantine.ReadMarks(t.Context(), conn, target(), done, time.Unix(1, 0)); !errors.Is(err, cluster.ErrReplaced) {
		t.Errorf("of another pod: %v", err)
	}
}

func TestJudgeHeedsWhatOthersDid(t *testing.T) {
	for name, c := range map[string]struct {
		d      evidence.Disturbance
		netpol evidence.State
	}{
		"policy gone":      {evidence.Disturbance{Code: evidence.PolicyGone, Layer: "netpol", Text: "it was deleted"}, evidence.Partial},
		"mark gone":        {evidence.Disturbance{Code: evidence.MarkGone, Layer: "label", Text: "the label " + evidence.LabelQuarantine + " is gone"}, evidence.Partial},
		"note gone":        {evidence.Disturbance{Code: evidence.MarkGone, Layer: "label", Text: "the annotation is gone"}, evidence.Contained},
		"labels back":      {evidence.Disturbance{Code: evidence.LabelBack, Layer: "detach", Text: "app=web"}, evidence.Contained},
		"node opened":      {evidence.Disturbance{Code: evidence.Uncordoned, Layer: "cordon", Text: "takes pods"}, evidence.Contained},
		"somebody's thing": {evidence.Disturbance{Code: evidence.Restarted, Text: "restarted"}, evidence.Contained},
	} {
		m := contained()
		m.FlowsBefore = nil
		m.Disturbed = []evidence.Disturbance{c.d}
		v := quarantine.Judge(m)
		i := slices.IndexFunc(v.Layers, func(l evidence.LayerVerdict) bool { return l.Layer == "netpol" })
		if v.Layers[i].Out != c.netpol || v.Layers[i].In != c.netpol || v.State != evidence.Contained {
			t.Errorf("%s: netpol %s/%s, all %s", name, v.Layers[i].Out, v.Layers[i].In, v.State)
		}
		if !slices.Contains(v.Why, c.d.Text) || len(v.Disturbed) != 1 {
			t.Errorf("%s: why %q", name, v.Why)
		}
		without(&m, "netns")
		if v := quarantine.Judge(m); c.netpol == evidence.Partial && v.State != evidence.Partial && v.State != evidence.Failed {
			t.Errorf("%s, with the policy alone: %s", name, v.State)
		}
	}
}

// Of a target that is gone nothing that is measured tells, whatever answers.
func TestJudgeOfATargetThatIsGone(t *testing.T) {
	m := contained()
	m.Disturbed = []evidence.Disturbance{quarantine.TargetGone(target(), time.Unix(1, 0))}
	if v := quarantine.Judge(m); v.State != evidence.Unverified || v.Outbound != evidence.Unverified || v.Inbound != evidence.Unverified {
		t.Errorf("%s, %s/%s", v.State, v.Outbound, v.Inbound)
	}
}

// A label that someone put back may bring an allowing policy back with it.
func TestJudgeAsksThePoliciesAboutTheLabelsThatStand(t *testing.T) {
	m := contained()
	m.FlowsBefore = nil
	p := policy(t, "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]\negress: [{}]\n")
	p.Name = "allow-web"
	m.Scene.Policies = []networkingv1.NetworkPolicy{p}
	says := func(v evidence.Verdict) bool {
		return slices.ContainsFunc(v.Layers, func(l evidence.LayerVerdict) bool {
			return l.Layer == "netpol" && l.Out == evidence.Partial && slices.ContainsFunc(l.Why, func(w string) bool { return strings.Contains(w, "allow-web") })
		})
	}
	if says(quarantine.Judge(m)) {
		t.Error("named though the label is stripped")
	}
	m.Labels = map[string]string{"app": "web"}
	if v := quarantine.Judge(m); !says(v) {
		t.Errorf("not named: %+v", v.Layers)
	}
}

func TestStoodConnectionsAreListedWithWhatTheyMoved(t *testing.T) {
	m := contained()
	stood, probe, closed := c2, flow("10.0.0.7:8080", "192.0.2.1:40000", "ESTABLISHED"), flow("10.0.0.7:50001", "203.0.113.9:443", "ESTABLISHED")
	at := func(f evidence.Flow, bytes uint64) evidence.Flow { f.Sent = bytes; return f }
	m.FlowsBefore = []evidence.Flow{at(stood, 100), at(probe, 5), at(closed, 7), flow("0.0.0.0:8080", "0.0.0.0:0", "LISTEN")}
	m.AtCut = []evidence.Flow{at(stood, 350), at(probe, 5), at(closed, 7)}
	m.FlowsNow = []evidence.Flow{at(stood, 350), at(probe, 5)}
	m.MovedBefore = quarantine.MovedBetween(m.FlowsBefore, m.AtCut)
	if len(m.MovedBefore) != 1 || m.MovedBefore[0].Local != stood.Local {
		t.Errorf("moved before: %+v", m.MovedBefore)
	}
	v := quarantine.Judge(m)
	if len(v.Established) != 3 || v.Established[0].Before != 250 || v.Established[0].Since != 0 {
		t.Errorf("%+v", v.Established)
	}
	for _, s := range v.Established {
		if s.Gone != (s.Local == closed.Local) || s.Probe != (s.Local == probe.Local) {
			t.Errorf("%+v", s)
		}
	}
	m.FlowsNow[0].Sent = 1350
	v = quarantine.Judge(m)
	if v.Established[0].Since != 1000 || !slices.ContainsFunc(v.Why, func(w string) bool { return strings.Contains(w, "moved 1000 bytes since the cut") }) {
		t.Errorf("%+v %q", v.Established[0], v.Why)
	}
	m.FlowsNow = nil
	if v := quarantine.Judge(m); v.Established != nil {
		t.Errorf("told without a look: %+v", v.Established)
	}
}

// A cut that had to be put back is a brake, also where the policy makes the verdict good.
func TestJudgeSaysThatTheCutWasPutBack(t *testing.T) {
	m := contained()
	m.FlowsBefore = nil
	m.Cut.Reasserted, m.Cut.Reopened = 7, 12*time.Millisecond
	m.Cut.Weak = []string{"the cut's rules were taken away or changed, and put back 7 times"}
	v := quarantine.Judge(m)
	why := strings.Join(v.Why, "\n")
	if !strings.Contains(why, "only a brake") || !strings.Contains(why, "put back 7 times; it was open for about 12ms") {
		t.Errorf("%q", v.Why)
	}
	without(&m, "netpol")
	if v := quarantine.Judge(m); v.State != evidence.Partial {
		t.Errorf("with the cut alone: %s", v.State)
	}
}
