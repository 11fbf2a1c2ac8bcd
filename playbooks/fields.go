package playbooks

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Fields reads a mapping key by key and keeps account of what was asked for, so
// that Rest can report every key that nobody knows.
type Fields struct {
	node   *yaml.Node
	keys   map[string]*yaml.Node
	values map[string]*yaml.Node
	order  []string
	known  []string
	Faults []Fault
}

// FieldsOf opens a mapping node; nil stands for an empty one. what names it in faults.
func FieldsOf(n *yaml.Node, what string) *Fields {
	f := &Fields{node: n, keys: map[string]*yaml.Node{}, values: map[string]*yaml.Node{}}
	if n == nil || (n.Kind == yaml.ScalarNode && n.Tag == "!!null") {
		return f
	}
	if n.Kind != yaml.MappingNode {
		f.fault(n, "%s: want a mapping, not %s", what, kindName(n))
		return f
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if _, twice := f.keys[k.Value]; twice {
			f.fault(k, "key %q stands twice", k.Value)
			continue
		}
		f.keys[k.Value], f.values[k.Value] = k, v
		f.order = append(f.order, k.Value)
	}
	return f
}

// Node is the value of a key, or nil.
func (f *Fields) Node(key string) *yaml.Node {
	f.known = append(f.known, key)
	return f.values[key]
}

// Key is the node of the key itself, for the place of a fault.
func (f *Fields) Key(key string) *yaml.Node { return f.keys[key] }

// String is a scalar's text; absent is "".
func (f *Fields) String(key string) string {
	n := f.Node(key)
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		f.fault(n, "%s: want text, not %s", key, kindName(n))
		return ""
	}
	return n.Value
}

// Duration is a Go duration such as 90s; absent is 0.
func (f *Fields) Duration(key string) time.Duration {
	s := f.String(key)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		f.fault(f.values[key], "%s: %q is no duration (write 90s, 5m)", key, s)
		return 0
	}
	return d
}

// Enum is a scalar out of a list; absent is the first.
func (f *Fields) Enum(key string, of ...string) string {
	s := f.String(key)
	if s == "" {
		return of[0]
	}
	if !slices.Contains(of, s) {
		f.fault(f.values[key], "%s: %q is none of %s%s", key, s, strings.Join(of, ", "), meant(s, of))
	}
	return s
}

// Words is a list of at least one scalar out of a list; absent is nil.
func (f *Fields) Words(key string, of ...string) []string {
	n := f.Node(key)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		f.fault(n, "%s: want a list, not %s", key, kindName(n))
		return nil
	}
	if len(n.Content) == 0 {
		f.fault(n, "%s: an empty list (leave the key out for the default)", key)
	}
	var out []string
	for _, item := range n.Content {
		switch {
		case item.Kind != yaml.ScalarNode:
			f.fault(item, "%s: want text, not %s", key, kindName(item))
		case !slices.Contains(of, item.Value):
			f.fault(item, "%s: %q is none of %s%s", key, item.Value, strings.Join(of, ", "), meant(item.Value, of))
		case slices.Contains(out, item.Value):
			f.fault(item, "%s: %q stands twice", key, item.Value)
		default:
			out = append(out, item.Value)
		}
	}
	return out
}

// Rest reports the keys that were never asked for, and returns all faults.
func (f *Fields) Rest() []Fault {
	for _, k := range f.order {
		if !slices.Contains(f.known, k) {
			f.fault(f.keys[k], "unknown key %q%s", k, meant(k, f.known))
		}
	}
	return f.Faults
}

func (f *Fields) fault(n *yaml.Node, format string, args ...any) {
	f.Faults = append(f.Faults, At(n, format, args...))
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "text"
	case yaml.AliasNode:
		return "an alias"
	}
	return "a document"
}

// meant suggests the known word that differs by at most two letters.
func meant(s string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(s, k); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal = next
		}
	}
	return row[len(b)]
}
