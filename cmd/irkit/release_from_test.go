package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// What stands on the pod is shown as what it would write, and nothing in it reaches the
// terminal raw.
func TestTheAnnotationIsShown(t *testing.T) {
	target := evidence.Target{ClusterUID: "c", Namespace: "prod", Pod: "web-0", UID: "u", Node: "n1"}
	object := evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: "web-0", UID: "u"}
	undo, err := json.Marshal(quarantine.Undo{V: 1, Case: "c-1", Target: target, Labels: map[string]string{"app": "bank"}, Changes: []evidence.Change{
		{Layer: "detach", Object: object, Before: json.RawMessage(`{"metadata":{"labels":{"app":"bank","x\u001b[2J":"y"}}}`)},
		{Layer: "netpol\u001b[31m", Object: object},
	}})
	if err != nil {
		t.Fatal(err)
	}
	note, err := json.Marshal(map[string]string{"undo": string(undo)})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-0", UID: "u",
		Labels: map[string]string{evidence.LabelQuarantine: "c-1"}, Annotations: map[string]string{evidence.AnnotationOriginal: string(note)}}}
	e := &playbooks.Engine{Conn: &cluster.Conn{Client: fake.NewClientset(pod)}, Cases: playbooks.Cases{Home: t.TempDir()}}
	p, err := e.LookNote(t.Context(), target, pod, nil, quarantine.ToService)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	printNote(&out, 100, p)
	for _, want := range []string{"UNSIGNED", p.Note.SHA256.Hex(), "+ metadata.labels.app: bank", "- metadata.labels.irkit.dev/quarantine: c-1", "left out"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Errorf("an escape reaches the terminal: %q", out.String())
	}
	out.Reset()
	p.Note.Origin = playbooks.NoteSigned
	if printNote(&out, 100, p); strings.Contains(out.String(), "+ metadata") {
		t.Errorf("a signed one is shown as a diff:\n%s", out.String())
	}
}
