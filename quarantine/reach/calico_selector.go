package reach

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// selector is an expression of Calico's selector language, read.
type selector struct {
	match func(map[string]string) bool
}

// matches: an empty expression selects everything.
func (s selector) matches(labels map[string]string) Answer {
	return answer(s.match == nil || s.match(labels))
}

// calicoLabels are a pod's labels with those that Calico adds.
func calicoLabels(p PodEnd) map[string]string {
	out := maps.Clone(p.Labels)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range p.NamespaceLabels {
		out["pcns."+k] = v
	}
	out["projectcalico.org/namespace"], out["projectcalico.org/orchestrator"] = p.Namespace, "k8s"
	if p.ServiceAccount != "" {
		out["projectcalico.org/serviceaccount"] = p.ServiceAccount
	}
	return out
}

func calicoNamespace(p PodEnd) map[string]string {
	out := maps.Clone(p.NamespaceLabels)
	if out == nil {
		out = map[string]string{}
	}
	out["projectcalico.org/name"] = p.Namespace
	return out
}

// maxDepth bounds how deep brackets and negations may nest.
const maxDepth = 64

// parseCalico reads a selector (docs.tigera.io, "Selectors"): == != in, not in, contains,
// starts with, ends with, has(), all(), global(), !, &&, ||, brackets; && before ||.
func parseCalico(text string) (selector, error) {
	if strings.TrimSpace(text) == "" {
		return selector{}, nil
	}
	p := &calicoParser{rest: text}
	m, err := p.or(0)
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q is left over", p.rest)
	}
	if err != nil {
		return selector{}, fmt.Errorf("read selector %q: %w", text, err)
	}
	return selector{m}, nil
}

type calicoParser struct{ rest string }

type matcher = func(map[string]string) bool

func (p *calicoParser) peek() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return p.rest
}

func (p *calicoParser) take(token string) bool {
	if !strings.HasPrefix(p.peek(), token) {
		return false
	}
	p.rest = p.rest[len(token):]
	return true
}

// word takes a keyword that must not go on as a label's name would.
func (p *calicoParser) word(token string) bool {
	if rest, ok := strings.CutPrefix(p.peek(), token); ok && (rest == "" || !inLabel(rest[0])) {
		p.rest = rest
		return true
	}
	return false
}

func (p *calicoParser) or(depth int) (matcher, error) {
	left, err := p.and(depth)
	for err == nil && p.take("||") {
		var right matcher
		if right, err = p.and(depth); err == nil {
			a := left
			left = func(m map[string]string) bool { return a(m) || right(m) }
		}
	}
	return left, err
}

func (p *calicoParser) and(depth int) (matcher, error) {
	left, err := p.operation(depth)
	for err == nil && p.take("&&") {
		var right matcher
		if right, err = p.operation(depth); err == nil {
			a := left
			left = func(m map[string]string) bool { return a(m) && right(m) }
		}
	}
	return left, err
}

func (p *calicoParser) operation(depth int) (matcher, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it nests deeper than %d", maxDepth)
	}
	switch {
	case p.take("!"):
		m, err := p.operation(depth + 1)
		return func(l map[string]string) bool { return !m(l) }, err
	case p.take("("):
		m, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = fmt.Errorf("want ) at %q", p.rest)
		}
		return m, err
	case p.call("all"):
		return func(map[string]string) bool { return true }, nil
	case p.call("global"):
		return func(map[string]string) bool { return false }, nil // no pod is outside of every namespace
	}
	return p.comparison()
}

// call takes name().
func (p *calicoParser) call(name string) bool {
	before := p.rest
	if p.word(name) && p.take("(") && p.take(")") {
		return true
	}
	p.rest = before
	return false
}

func (p *calicoParser) comparison() (matcher, error) {
	before := p.rest
	if p.word("has") && p.take("(") {
		key, err := p.label()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("want ) at %q", p.rest)
		}
		return func(m map[string]string) bool { _, ok := m[key]; return ok }, err
	}
	p.rest = before
	key, err := p.label()
	if err != nil {
		return nil, err
	}
	compare := func(ok func(got, want string) bool) (matcher, error) {
		want, err := p.text()
		return func(m map[string]string) bool { got, there := m[key]; return there && ok(got, want) }, err
	}
	set := func(in bool) (matcher, error) {
		all, err := p.set()
		return func(m map[string]string) bool {
			got, there := m[key]
			return (there && slices.Contains(all, got)) == in
		}, err
	}
	switch {
	case p.take("=="):
		return compare(func(a, b string) bool { return a == b })
	case p.take("!="):
		want, err := p.text()
		return func(m map[string]string) bool { got, there := m[key]; return !there || got != want }, err
	case p.word("contains"):
		return compare(strings.Contains)
	case p.word("starts") && p.word("with"):
		return compare(strings.HasPrefix)
	case p.word("ends") && p.word("with"):
		return compare(strings.HasSuffix)
	case p.word("in"):
		return set(true)
	case p.word("not") && p.word("in"):
		return set(false)
	}
	return nil, fmt.Errorf("want a comparison at %q", p.rest)
}

func inLabel(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("_./-", b) >= 0
}

func (p *calicoParser) label() (string, error) {
	s := p.peek()
	n := 0
	for n < len(s) && inLabel(s[n]) {
		n++
	}
	if n == 0 {
		return "", fmt.Errorf("want a label at %q", s)
	}
	p.rest = s[n:]
	return s[:n], nil
}

// text is a string in either kind of quotes; there are no escapes.
func (p *calicoParser) text() (string, error) {
	s := p.peek()
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", fmt.Errorf("want a string at %q", s)
	}
	end := strings.IndexByte(s[1:], s[0])
	if end < 0 {
		return "", fmt.Errorf("string %s has no end", s)
	}
	p.rest = s[end+2:]
	return s[1 : end+1], nil
}

func (p *calicoParser) set() ([]string, error) {
	if !p.take("{") {
		return nil, fmt.Errorf("want { at %q", p.rest)
	}
	var out []string
	for !p.take("}") {
		if len(out) > 0 && !p.take(",") {
			return nil, fmt.Errorf("want , or } at %q", p.rest)
		}
		s, err := p.text()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
