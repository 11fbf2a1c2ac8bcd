package playbooks

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type nothing struct{}

func (nothing) Build(*Site) Action { return nil }
func (nothing) Needs() Needs       { return Needs{} }

func kinds() []Kind {
	read := func(with *yaml.Node) (Blueprint, []Fault) {
		f := FieldsOf(with, "isolate")
		f.Words("layers", "netns", "netpol")
		return nothing{}, f.Rest()
	}
	return []Kind{{Name: "isolate", New: read}, {Name: "measure", New: func(with *yaml.Node) (Blueprint, []Fault) {
		f := FieldsOf(with, "measure")
		f.Duration("within")
		return nothing{}, f.Rest()
	}}}
}

const head = "apiVersion: irkit.dev/v1alpha1\nkind: Playbook\nmetadata: {name: t}\n"

func TestCompileReportsEveryFaultWithItsPlace(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":            {"", []string{"p.yaml:1:1: empty"}},
		"no mapping":       {"- a\n", []string{"p.yaml:1:1: playbook: want a mapping, not a list"}},
		"yaml syntax":      {head + "steps: [\n", []string{"p.yaml:4:1: "}},
		"two documents":    {head + "steps: [{id: a, isolate: {}}]\n---\na: 1\n", []string{"more than one document"}},
		"unknown key":      {head + "steps:\n  - id: a\n    isolate: {layres: [netns]}\n", []string{`p.yaml:6:15: unknown key "layres" (did you mean layers?)`}},
		"unknown top key":  {head + "stepz: []\nsteps: [{id: a, isolate: {}}]\n", []string{`p.yaml:4:1: unknown key "stepz"`}},
		"unknown action":   {head + "steps:\n  - id: a\n    isolat: {}\n", []string{`p.yaml:6:5: unknown key "isolat" (did you mean isolate?)`}},
		"unknown layer":    {head + "steps:\n  - id: a\n    isolate: {layers: [netpool]}\n", []string{`p.yaml:6:24: layers: "netpool" is none of netns, netpol (did you mean netpol?)`}},
		"empty list":       {head + "steps:\n  - id: a\n    isolate: {layers: []}\n", []string{`p.yaml:6:23: layers: an empty list`}},
		"two actions":      {head + "steps:\n  - id: a\n    isolate: {}\n    measure: {}\n", []string{`p.yaml:7:5: a second action "measure"`}},
		"no action":        {head + "steps:\n  - id: a\n", []string{"p.yaml:5:5: no action: want one of isolate, measure"}},
		"id twice":         {head + "steps: [{id: a, isolate: {}}, {id: a, isolate: {}}]\n", []string{`id: "a" stands twice`}},
		"bad duration":     {head + "steps:\n  - id: a\n    measure: {within: -1s}\n", []string{`p.yaml:6:23: within: "-1s" is no duration`}},
		"bad onFailure":    {head + "steps:\n  - id: a\n    onFailure: stopp\n    isolate: {}\n", []string{`onFailure: "stopp" is none of continue, stop (did you mean stop?)`}},
		"key twice":        {head + "steps:\n  - id: a\n    isolate: {}\n    isolate: {}\n", []string{`key "isolate" stands twice`}},
		"several at once":  {"apiVersion: v1\nkind: Pod\nmetadata: {name: T!}\nsteps: []\n", []string{"p.yaml:1:13: apiVersion", "p.yaml:2:7: kind", "p.yaml:3:18: metadata.name", "p.yaml:4:8: steps"}},
		"steps no mapping": {head + "steps: [7]\n", []string{"step: want a mapping, not text"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile("p.yaml", []byte(c.text), kinds())
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("Compile = %v, want Faults", err)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(faults, func(f Fault) bool { return strings.Contains(f.String(), want) }) {
					t.Errorf("no fault %q in:\n%v", want, err)
				}
			}
		})
	}
}

func TestCompileRefusesAliasBombs(t *testing.T) {
	text := head + "x: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for range 5 {
		text += "y: [" + strings.Repeat("*a,", 50) + "]\n"
	}
	text += "steps: [{id: a, isolate: {}}]\n"
	if _, err := Compile("p.yaml", []byte(text), kinds()); err == nil {
		t.Fatal("a bomb of aliases was accepted")
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(head + "steps: [{id: a, isolate: {layers: [netns]}}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		plan, err := Compile("p.yaml", b, kinds())
		if (plan == nil) == (err == nil) {
			t.Fatalf("plan %v and error %v", plan, err)
		}
	})
}

func TestCompiledPlanKeepsOrderAndSource(t *testing.T) {
	text := head + "steps:\n  - id: one\n    onFailure: stop\n    timeout: 3s\n    isolate: {layers: [netpol]}\n  - id: two\n    measure:\n"
	p, err := Compile("p.yaml", []byte(text), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if string(p.Source) != text || len(p.Steps) != 2 || p.Steps[0].ID != "one" || p.Steps[0].OnFailure != Stop || p.Steps[0].Timeout.Seconds() != 3 || p.Steps[1].OnFailure != Continue || p.Steps[1].Action != "measure" {
		t.Fatalf("plan: %+v", p)
	}
}
