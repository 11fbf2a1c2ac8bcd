package reach

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// expr is an expression beside what it means, made together: the text is what the parser
// gets, the meaning is what it must come to.
type expr struct {
	text string
	hold func(map[string]string) bool
}

func drawn(r *rand.Rand, depth int) expr {
	key := []string{"a", "b.c/d"}[r.IntN(2)]
	quote := []string{"'", `"`}[r.IntN(2)]
	value := []string{"1", "2", "x y", ""}[r.IntN(4)]
	gap := []string{"", " ", "\t "}[r.IntN(3)]
	v := quote + value + quote
	kinds := 11
	if depth == 0 {
		kinds = 8
	}
	switch r.IntN(kinds) {
	case 0:
		return expr{key + gap + "==" + gap + v, func(m map[string]string) bool { got, ok := m[key]; return ok && got == value }}
	case 1:
		return expr{key + gap + "!=" + gap + v, func(m map[string]string) bool { got, ok := m[key]; return !ok || got != value }}
	case 2:
		return expr{"has(" + key + ")", func(m map[string]string) bool { _, ok := m[key]; return ok }}
	case 3:
		return expr{key + " in {" + v + ",'9'}", func(m map[string]string) bool { got, ok := m[key]; return ok && (got == value || got == "9") }}
	case 4:
		return expr{key + " not in {" + v + "}", func(m map[string]string) bool { got, ok := m[key]; return !ok || got != value }}
	case 5:
		return expr{key + " starts with " + v, func(m map[string]string) bool { got, ok := m[key]; return ok && strings.HasPrefix(got, value) }}
	case 6:
		return expr{key + " contains " + v, func(m map[string]string) bool { got, ok := m[key]; return ok && strings.Contains(got, value) }}
	case 7:
		return expr{"all()", func(map[string]string) bool { return true }}
	case 8:
		x := drawn(r, depth-1)
		return expr{"!" + gap + "(" + x.text + ")", func(m map[string]string) bool { return !x.hold(m) }}
	case 9:
		x, y := drawn(r, depth-1), drawn(r, depth-1)
		return expr{"(" + x.text + ")" + gap + "&&" + gap + "(" + y.text + ")", func(m map[string]string) bool { return x.hold(m) && y.hold(m) }}
	}
	x, y, z := drawn(r, 0), drawn(r, 0), drawn(r, depth-1) // && binds closer than ||
	return expr{x.text + " || " + y.text + " && (" + z.text + ")", func(m map[string]string) bool { return x.hold(m) || y.hold(m) && z.hold(m) }}
}

func TestCalicoSelectorsMeanWhatTheySay(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 5))
		x := drawn(r, 3)
		s, err := parseCalico(x.text)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, m := range []map[string]string{nil, {"a": "1"}, {"a": "2", "b.c/d": "x y"}, {"b.c/d": ""}, {"a": "9"}, {"a": "1x y2", "b.c/d": "1"}} {
			if got := s.matches(m); got != answer(x.hold(m)) {
				t.Fatalf("seed %d: %s on %v: %s", seed, x.text, m, got)
			}
		}
	}
}

// FuzzParseCalico: any text is read or refused, and what is read can be asked.
func FuzzParseCalico(f *testing.F) {
	for _, s := range []string{"", "all()", "a == 'b' && !(has(c) || d not in {'x', \"y\"})", "a ==", "((((", "!" + strings.Repeat("(", 500), "a in {", "global()", "\xff == '\x00'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseCalico(text)
		if err != nil {
			return
		}
		first, second := s.matches(map[string]string{"a": "b"}), s.matches(map[string]string{"a": "b"})
		if fmt.Sprint(first) != fmt.Sprint(second) {
			t.Fatalf("%q means two things", text)
		}
	})
}

// FuzzCiliumSelector: a selector and its negation never are both surely true, whatever the
// keys say of where a label comes from.
func FuzzCiliumSelector(f *testing.F) {
	for _, k := range []string{"app", "k8s:app", "any:app", "reserved:host", "k8s:io.kubernetes.pod.namespace", ":", "x:y:z", "io.cilium.k8s.namespace.labels.env", "cidr:10.0.0.0/8"} {
		f.Add(k, "web")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		p := PodEnd{Namespace: "prod", NamespaceLabels: map[string]string{"env": "web"}, Labels: map[string]string{"app": "web"}}
		is := ciliumSelector{MatchLabels: map[string]string{key: value}}.matches(&p)
		for _, op := range []string{"NotIn", "DoesNotExist"} {
			raw := fmt.Sprintf(`{"endpointSelector":{"matchExpressions":[{"key":%q,"operator":%q,"values":[%q]}]}}`, key, op, value)
			var s ciliumSpec
			if strictly([]byte(raw), &s) != nil {
				continue // Go's quoting is not JSON's for every text
			}
			e := s.EndpointSelector
			if e == nil || len(e.MatchExpressions) != 1 || e.MatchExpressions[0].Key != key || e.MatchExpressions[0].Values[0] != value {
				continue
			}
			if is == Yes && e.matches(&p) == Yes {
				t.Fatalf("%q=%q and %s are both true", key, value, op)
			}
		}
	})
}
