package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

var update = flag.Bool("update", false, "write the golden files of plans")

// prospect is a plan with one change of each kind.
func prospect() playbooks.Prospect {
	t := evidence.Target{ClusterUID: "c", Namespace: "prod", Pod: "web-0", UID: "0f1e2d3c-0000-4000-8000-000000000001", Node: "n1"}
	pod := evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: "web-0", UID: t.UID}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	return playbooks.Prospect{
		Case: "20260102-web-0-0f1e2d3c", Playbook: "contain", Steps: []string{"isolate", "collect"},
		Want: quarantine.Want{Layers: []string{"netns", "netpol", "detach", "cordon"}},
		Forecast: evidence.Forecast{Target: t, Layers: []string{"netpol", "detach"}, Refused: []string{"netns"}, Findings: []evidence.Finding{
			{Severity: evidence.Refused, Code: "host-network", Layer: "netns", Text: "the pod uses the node's network: a cut there would cut off the node"},
			{Severity: evidence.Warning, Code: "residual-allow", Text: "policy \"open\" still lets everything through\x1b[2J"},
			{Severity: evidence.Note, Code: "replacement-starts", Text: "a replacement starts at once from the same image"},
		}},
		Changes: []evidence.Change{
			{ID: "hand/inject/pod/prod/web-0", Layer: "hand", Op: evidence.OpInject, Object: pod, Why: "start irkit's hand beside container web",
				After:        raw(`{"spec":{"ephemeralContainers":[{"name":"irkit-1","image":"registry.example/irkit-agent:1","command":["/irkit-agent","work"]}]}}`),
				Irreversible: "ephemeral container irkit-1 stays in the pod's specification"},
			{ID: "netpol/create/networkpolicy/prod/q", Layer: "netpol", Op: evidence.OpCreate, Before: raw("null"), Why: "stop all traffic, both ways",
				Object: evidence.Object{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "prod", Name: "q"},
				After: raw(`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"q","namespace":"prod","creationTimestamp":null},` +
					`"spec":{"podSelector":{"matchLabels":{"irkit.dev/quarantine":"x"}},"policyTypes":["Ingress","Egress"]},"status":{}}`)},
			{ID: "detach/patch/pod/prod/web-0", Layer: "detach", Op: evidence.OpPatch, Object: pod, Why: "take the pod out of service",
				Before: raw(`{"metadata":{"labels":{"app":"web","evil":"\u001b[31mred\u202e","true":"true"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-abc"}]}}`),
				After:  raw(`{"metadata":{"labels":{"app":null,"evil":null,"true":null},"annotations":{"irkit.dev/original":"` + strings.Repeat("x", 300) + `"},"ownerReferences":[]}}`)},
			{ID: "cordon/patch/node/n1", Layer: "cordon", Op: evidence.OpPatch, Object: evidence.Object{APIVersion: "v1", Kind: "Node", Name: "n1"},
				Before: raw(`{"spec":{"unschedulable":null}}`), After: raw(`{"spec":{"unschedulable":true}}`), Why: "keep new pods off the target's node"},
		},
		Answers: []playbooks.Answer{
			{Change: "netpol/create/networkpolicy/prod/q", OK: true, Warnings: []string{"spec.podSelector: use something else\x07"}},
			{Change: "cordon/patch/node/n1", Text: `admission webhook "guard" denied the request`},
		},
	}
}

func golden1(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "plan", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another text; if that is meant: go test ./cmd/irkit -run TestPlan -update\n%s", name, got)
	}
}

// TestPlanForAPerson: the same plan on terminals of 80 and 120 columns.
func TestPlanForAPerson(t *testing.T) {
	for _, width := range []int{80, 120} {
		var b bytes.Buffer
		printPlan(&b, width, &cluster.Conn{Cluster: "https://fake", Context: "lab"}, prospect())
		printDiffs(&b, width, paint{}, prospect().Changes)
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns: a line of %d: %q", width, n, line)
			}
		}
		if i := strings.IndexFunc(strings.ReplaceAll(b.String(), "\n", ""), func(r rune) bool { return visible(r) != r }); i >= 0 {
			t.Errorf("a character that a terminal acts on, at %d", i)
		}
		golden1(t, fmt.Sprintf("text-%d.golden", width), b.Bytes())
	}
}

// TestPlanForAProgram: JSON and YAML have the same fields, and stay as they are.
func TestPlanForAProgram(t *testing.T) {
	for _, format := range []string{"json", "yaml"} {
		var b bytes.Buffer
		d := &door{stdout: &b}
		set := flag.NewFlagSet("", flag.ContinueOnError)
		set.String("output", format, "")
		if done, err := d.data(cli.NewContext(nil, set, nil), prospect()); !done || err != nil {
			t.Fatal(done, err)
		}
		golden1(t, "plan."+format, b.Bytes())
	}
}

// TestDiffColours: only what is painted has escapes, and each line ends them.
func TestDiffColours(t *testing.T) {
	var b bytes.Buffer
	printDiffs(&b, 80, paint{minus: "<", plus: "[", end: ">"}, prospect().Changes)
	for line := range strings.Lines(b.String()) {
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "<- ") || strings.HasPrefix(text, "[+ ") {
			if !strings.HasSuffix(text, ">") {
				t.Errorf("the colour does not end: %q", line)
			}
		} else if strings.HasPrefix(text, "- ") || strings.HasPrefix(text, "+ ") {
			t.Errorf("not painted: %q", line)
		}
	}
	with := func(env map[string]string) *door {
		return &door{getenv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
	}
	for _, d := range []*door{with(nil), with(map[string]string{"NO_COLOR": "1"}), with(map[string]string{"TERM": "dumb"})} {
		if p := d.painted(&b); p != (paint{}) {
			t.Errorf("colour where no terminal is: %+v", p)
		}
	}
}

// TestDiffOfHostileValues: whatever stands in labels of the target, a diff is lines that
// begin with - or +, fit, and hold nothing that a terminal acts on.
func TestDiffOfHostileValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var b strings.Builder
		all := []rune("ab\n\r\t\x00\x1b\u009b\u202e\u2066\ufeff\U000e0041é漢\"\\:- #{}[]")
		for range r.IntN(200) {
			b.WriteRune(all[r.IntN(len(all))])
		}
		return b.String()
	}
	for range 3000 {
		before, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{text(): text(), "k": text()}}})
		if err != nil {
			t.Fatal(err)
		}
		after, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{text(): text(), "k": nil}}, text(): []any{text(), 7, nil}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []evidence.Change{
			{Op: evidence.OpPatch, Before: before, After: after}, {Op: evidence.OpCreate, After: after}, {Op: evidence.OpDelete, Before: before},
			{Op: evidence.OpCreate, After: json.RawMessage(text())}, {Op: evidence.OpPatch},
		} {
			c.Object.Name = text()
			var b bytes.Buffer
			printDiffs(&b, 80, paint{}, []evidence.Change{c})
			for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
				trimmed := strings.TrimPrefix(line, "    ")
				if i > 3 && !strings.HasPrefix(trimmed, "- ") && !strings.HasPrefix(trimmed, "+ ") {
					t.Fatalf("line %d is neither - nor +: %q of %s", i, line, after)
				}
				if n := utf8.RuneCountInString(line); n > 80 {
					t.Fatalf("a line of %d: %q", n, line)
				}
				if strings.IndexFunc(line, func(r rune) bool { return visible(r) != r || r == '\t' }) >= 0 {
					t.Fatalf("a terminal acts on %q", line)
				}
			}
		}
	}
}
