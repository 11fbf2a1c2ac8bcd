package actions

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/evidence/verify"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// anotherLaptop is the same cluster seen from a machine with a home and a key of its own.
func (n *night) anotherLaptop(t *testing.T) *night {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.LoadOrCreateKey(filepath.Join(dir, "key"), "kim@other")
	if err != nil {
		t.Fatal(err)
	}
	line, err := seal.AllowedSigner("kim@example.com", key.PublicKey(), evidence.SealNamespace)
	if err != nil {
		t.Fatal(err)
	}
	e := *n.Engine
	e.Cases, e.Signer, e.Actor = playbooks.Cases{Home: filepath.Join(dir, "home")}, key, evidence.Actor{Name: "kim", Host: "other"}
	out := &night{Engine: &e, client: n.client, hands: n.hands, signers: filepath.Join(dir, "signers"), plan: n.plan}
	if err := os.WriteFile(out.signers, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *night) undoSigner(t *testing.T) []byte {
	t.Helper()
	line, err := seal.AllowedSigner("jo@example.com", n.Signer.PublicKey(), evidence.UndoNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(line)
}

func (n *night) lookNote(t *testing.T, signers []byte) playbooks.Parole {
	t.Helper()
	p, err := n.LookNote(t.Context(), theTarget(), n.pod(t), signers, quarantine.ToService)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The pod is as before, the custody here tells by whose word it was released, and the
// bundle of the release verifies by itself.
func TestReleaseFromAnotherLaptop(t *testing.T) {
	n := newNight(t)
	before := n.pod(t)
	n.contain(t.Context(), t)
	far := n.anotherLaptop(t)
	writes := n.writes()
	p := far.lookNote(t, n.undoSigner(t))
	if !p.Note.Trusted() || p.Note.Signer != "jo@example.com" || len(p.Note.LeftOut) > 0 || n.writes() != writes {
		t.Fatalf("%+v, %d writes", p.Note, n.writes()-writes)
	}
	got, err := far.Release(t.Context(), playbooks.Order{Image: "agent:test"}, p, func(string) bool { return false })
	if err != nil || len(got.Failed) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	cut, _ := n.hands.net.Cut()
	if now := n.pod(t); !maps.Equal(now.Labels, before.Labels) || now.Annotations[evidence.AnnotationOriginal] != "" || len(n.policies(t)) > 0 || cut {
		t.Errorf("labels %v, annotations %v, policies %q, cut %v", now.Labels, now.Annotations, n.policies(t), cut)
	}
	h, err := far.Cases.History("c-1")
	if err != nil || !h.Released() || !h.Elsewhere() || len(h.Bags) != 1 || !h.Bags[0].Sealed {
		t.Fatalf("%+v, %v", h.Bags, err)
	}
	v, err := verify.Bundle(t.Context(), filepath.Join(h.Dir, h.Bags[0].ID), verify.Options{Signers: far.signers, Deep: true})
	if err != nil || !v.OK() || v.Origin != verify.OK {
		t.Errorf("%v: %+v", err, v)
	}
	last := h.Records[len(h.Records)-1]
	said, _ := last.Data["undo_annotation"].(map[string]any)
	if last.Action != evidence.ActReleased || said["origin"] != playbooks.NoteSigned || said["signer"] != "jo@example.com" || last.Actor.Name != "kim" {
		t.Errorf("last record: %+v", last)
	}
	// Joined by what both hold: the annotation, in the first one's change and in this bundle.
	first, err := n.Cases.History("c-1")
	if err != nil {
		t.Fatal(err)
	}
	text := quoted(t, p.Note, far)
	joins := slices.ContainsFunc(first.Records, func(r evidence.Record) bool {
		return r.Change != nil && r.Change.Layer == quarantine.LayerLabel && strings.Contains(string(r.Change.After), text)
	})
	if !joins {
		t.Error("the annotation that was released by is not in the custody log of the containment")
	}
	// Who contained it finds it released, and may say so in their log too.
	if back := n.release(t, quarantine.ToService); len(back.Failed) > 0 {
		t.Errorf("%+v", back)
	}
}

// quoted is the annotation as the far bundle keeps it, in a JSON string.
func quoted(t *testing.T, n *playbooks.Note, far *night) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(far.Cases.Dir("c-1"), "irkit-*", "data", string(evidence.Kubernetes), "*undo-annotation*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	if n.SHA256 == (evidence.Digest{}) {
		t.Error("no digest")
	}
	q, err := json.Marshal(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return string(q)
}

func TestWhoseWordTheAnnotationIs(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	far := n.anotherLaptop(t)
	ours := n.undoSigner(t)
	theirs := far.undoSigner(t)
	text := n.pod(t).Annotations[evidence.AnnotationOriginal]
	var split struct{ Undo, Signature string }
	if err := json.Unmarshal([]byte(text), &split); err != nil {
		t.Fatal(err)
	}
	join := func(undo, signature string) string {
		b, err := json.Marshal(map[string]string{"undo": undo, "signature": signature})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		text    string
		signers []byte
		want    string
	}{
		"a listed signer": {text, ours, playbooks.NoteSigned},
		"a foreign one":   {text, theirs, playbooks.NoteForeign},
		"empty signers":   {text, []byte{}, playbooks.NoteForeign},
		"no signers":      {text, nil, playbooks.NoteUnchecked},
		"no signature":    {join(split.Undo, ""), ours, playbooks.NoteUnsigned},
		"another text":    {join(strings.Replace(split.Undo, `"front"`, `"back"`, 1), split.Signature), ours, playbooks.NoteBroken},
		"no armour":       {join(split.Undo, "x"), ours, playbooks.NoteBroken},
	} {
		n.annotate(t, c.text)
		p := far.lookNote(t, c.signers)
		if p.Note.Origin != c.want || p.Note.Why == "" || p.Note.Trusted() != (c.want == playbooks.NoteSigned) {
			t.Errorf("%s: %+v", name, p.Note)
		}
	}
	if _, err := far.Cases.History("c-1"); err == nil {
		t.Error("looking opened a case")
	}
}

func (n *night) annotate(t *testing.T, text string) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{evidence.AnnotationOriginal: text}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.client.CoreV1().Pods("prod").Patch(t.Context(), "web-0", types.MergePatchType, b, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A release by the annotation that was ended in the middle goes on from the case folder it
// opened, also when the annotation is gone by then.
func TestReleaseFromAnotherLaptopGoesOn(t *testing.T) {
	n := newNight(t)
	before := n.pod(t)
	n.contain(t.Context(), t)
	far := n.anotherLaptop(t)
	refuse := true
	n.client.PrependReactor("delete", "networkpolicies", func(ktesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("etcd is being compacted")
	})
	got, err := far.Release(t.Context(), playbooks.Order{Image: "agent:test"}, far.lookNote(t, nil), func(string) bool { return false })
	if err != nil || len(got.Failed) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if s, err := far.Cases.Recall("c-1"); err != nil || s.Released || len(s.Unsure) == 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	refuse = false
	if back := far.release(t, quarantine.ToService); len(back.Failed) > 0 || len(n.policies(t)) > 0 || !maps.Equal(n.pod(t).Labels, before.Labels) {
		t.Errorf("%+v, policies %q, labels %v", back, n.policies(t), n.pod(t).Labels)
	}
	if s, err := far.Cases.Recall("c-1"); err != nil || !s.Released {
		t.Errorf("status: %+v, %v", s, err)
	}
}

// The case's name may be taken here by another pod's: nothing is mixed.
func TestReleaseFromAnotherLaptopWithACaseOfThatName(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	far := n.anotherLaptop(t)
	dir := far.Cases.Dir("c-1")
	lock, err := custody.LockCase(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.MkdirAll("irkit-c-1-01kb0000000000000000000000", 0o700); err != nil {
		t.Fatal(err)
	}
	inside, err := root.OpenRoot("irkit-c-1-01kb0000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	log, err := custody.Open(t.Context(), inside, evidence.CustodyJSONL, custody.Options{Bundle: "irkit-c-1-01kb0000000000000000000000", Case: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	other := theTarget()
	other.UID = "another"
	if _, _, err := log.Append(t.Context(), evidence.Record{Action: evidence.ActOpened, Target: &other}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := far.LookNote(t.Context(), theTarget(), n.pod(t), nil, quarantine.ToService); !errors.Is(err, playbooks.ErrOtherTarget) {
		t.Error(err)
	}
}

func TestNoNote(t *testing.T) {
	n := newNight(t)
	if _, err := n.LookNote(t.Context(), theTarget(), n.pod(t), nil, quarantine.ToService); !errors.Is(err, playbooks.ErrNoNote) {
		t.Error(err)
	}
	n.annotate(t, `{"undo":"{\"v\":1,\"case\":\"c-1\",\"target\":{\"namespace\":\"prod\",\"pod\":\"web-0\",\"uid\":\"another\"}}"}`)
	if _, err := n.LookNote(t.Context(), theTarget(), n.pod(t), nil, quarantine.ToService); !errors.Is(err, quarantine.ErrForeign) {
		t.Error(err)
	}
	for _, c := range []struct{ label, note, want string }{
		{"", "", ""}, {"inc-7", "", "inc-7"}, {"", `{"undo":"{\"v\":1,\"case\":\"c-1\"}"}`, "c-1"}, {"x", "{", "x"}, {"_", "{", ""},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{evidence.LabelQuarantine: c.label}, Annotations: map[string]string{evidence.AnnotationOriginal: c.note}}}
		if got := playbooks.CaseOn(p); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// A pod that was evicted takes no hand and never becomes Ready: what is around it goes
// at once all the same.
func TestReleaseOfAnEvictedPod(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	p := n.pod(t)
	p.Status.Phase, p.Status.Reason, p.Status.Conditions = corev1.PodFailed, "Evicted", nil
	if _, err := n.client.CoreV1().Pods("prod").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.hands.refuse = map[string]error{"app": errors.New("the pod has ended"), "side": errors.New("the pod has ended")}
	back := n.release(t, quarantine.ToService)
	if len(back.Failed) > 0 || len(n.policies(t)) > 0 || n.node(t).Spec.Unschedulable || n.pod(t).Labels["app"] != "web" {
		t.Errorf("%+v, policies %q, cordoned %v, labels %v", back, n.policies(t), n.node(t).Spec.Unschedulable, n.pod(t).Labels)
	}
	if !slices.ContainsFunc(back.Residue, func(s string) bool { return strings.Contains(s, "Evicted") }) {
		t.Errorf("residue %q", back.Residue)
	}
}

// The node may be gone too.
func TestReleaseAfterPodAndNodeAreGone(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	if err := n.client.CoreV1().Pods("prod").Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.client.CoreV1().Nodes().Delete(t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []quarantine.Mode{quarantine.ToService, quarantine.DeletePod} {
		if back := n.release(t, mode); len(back.Failed) > 0 || len(n.policies(t)) > 0 {
			t.Errorf("%s: %+v, policies %q", mode, back, n.policies(t))
		}
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released {
		t.Errorf("status: %+v, %v", s, err)
	}
}
