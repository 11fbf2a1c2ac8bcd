package playbooks

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits of a playbook's text: it may come from anywhere.
const (
	maxBytes   = 1 << 20
	maxAliases = 100
	maxSteps   = 200
)

var (
	idForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)
)

// Kind is one verb of the language: its name, and how its parameters are read. New
// returns every fault that it finds, and is called without a cluster.
type Kind struct {
	Name string
	New  func(with *yaml.Node) (Blueprint, []Fault)
}

// Plan is a compiled playbook: typed, and without a target.
type Plan struct {
	Playbook
	Source     []byte // as read, for the bundle
	Blueprints []Blueprint
}

// Compile reads a playbook. It touches nothing; its error is Faults, all at once.
func Compile(file string, source []byte, kinds []Kind) (*Plan, error) {
	c := compiler{file: file, kinds: kinds}
	root := c.parse(source)
	p := &Plan{Source: source}
	if root != nil {
		c.document(root, p)
	}
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b Fault) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, c.faults
	}
	return p, nil
}

type compiler struct {
	file   string
	kinds  []Kind
	faults Faults
}

func (c *compiler) add(faults ...Fault) {
	for _, f := range faults {
		f.File = c.file
		if f.Line == 0 {
			f.Line, f.Column = 1, 1
		}
		c.faults = append(c.faults, f)
	}
}

func (c *compiler) parse(source []byte) *yaml.Node {
	if len(source) > maxBytes {
		c.add(At(nil, "larger than 1 MiB"))
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(source))
	var doc, second yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		c.add(At(nil, "empty"))
		return nil
	case err != nil:
		c.add(yamlFault(err))
		return nil
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		c.add(At(&second, "more than one document"))
		return nil
	}
	aliases := 0
	if !resolve(doc.Content[0], &aliases, 0) {
		c.add(At(doc.Content[0], "more than %d aliases, or nested too deep", maxAliases))
		return nil
	}
	return doc.Content[0]
}

// resolve replaces aliases by what they stand for, up to the limit.
func resolve(n *yaml.Node, aliases *int, depth int) bool {
	if depth > 50 {
		return false
	}
	for i, child := range n.Content {
		for child.Kind == yaml.AliasNode {
			if *aliases++; *aliases > maxAliases {
				return false
			}
			child = child.Alias
		}
		n.Content[i] = child
		if !resolve(child, aliases, depth+1) {
			return false
		}
	}
	return true
}

func yamlFault(err error) Fault {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return Fault{Line: line, Column: 1, Text: m[2]}
	}
	return Fault{Text: strings.TrimPrefix(err.Error(), "yaml: ")}
}

func (c *compiler) document(root *yaml.Node, p *Plan) {
	f := FieldsOf(root, "playbook")
	if v := f.String("apiVersion"); v != APIVersion {
		c.add(At(f.at("apiVersion"), "apiVersion: want %s, not %q", APIVersion, v))
	}
	if v := f.String("kind"); v != KindPlaybook {
		c.add(At(f.at("kind"), "kind: want %s, not %q", KindPlaybook, v))
	}
	meta := FieldsOf(f.Node("metadata"), "metadata")
	p.Name, p.Description = meta.String("name"), meta.String("description")
	if !idForm.MatchString(p.Name) {
		c.add(At(cmp.Or(meta.at("name"), f.at("metadata")), "metadata.name: %q is not made of a-z, 0-9 and -, at most 40", p.Name))
	}
	c.add(meta.Rest()...)
	steps := f.Node("steps")
	switch {
	case steps == nil || steps.Kind != yaml.SequenceNode || len(steps.Content) == 0:
		c.add(At(cmp.Or(steps, root), "steps: want a list of at least one step"))
	case len(steps.Content) > maxSteps:
		c.add(At(steps, "steps: more than %d", maxSteps))
	default:
		seen := map[string]bool{}
		for _, n := range steps.Content {
			c.step(n, p, seen)
		}
	}
	c.add(f.Rest()...)
}

func (c *compiler) step(n *yaml.Node, p *Plan, seen map[string]bool) {
	f := FieldsOf(n, "step")
	s := Step{ID: f.String("id"), Timeout: f.Duration("timeout"), Line: n.Line}
	s.OnFailure = OnFailure(f.Enum("onFailure", string(Continue), string(Stop)))
	switch {
	case !idForm.MatchString(s.ID):
		c.add(At(cmp.Or(f.at("id"), n), "id: %q is not made of a-z, 0-9 and -, at most 40", s.ID))
	case seen[s.ID]:
		c.add(At(f.at("id"), "id: %q stands twice", s.ID))
	}
	seen[s.ID] = true
	var blueprint Blueprint
	var names []string
	for _, k := range c.kinds {
		names = append(names, k.Name)
		with := f.Node(k.Name)
		if f.Key(k.Name) == nil {
			continue
		}
		if s.Action != "" {
			c.add(At(f.Key(k.Name), "a second action %q: a step has one", k.Name))
			continue
		}
		s.Action, s.With = k.Name, with
		b, faults := k.New(with)
		blueprint = b
		c.add(faults...)
	}
	rest := f.Rest()
	c.add(rest...)
	if s.Action == "" && len(rest) == 0 && n.Kind == yaml.MappingNode {
		c.add(At(n, "no action: want one of %s", strings.Join(names, ", ")))
	}
	p.Steps = append(p.Steps, s)
	p.Blueprints = append(p.Blueprints, blueprint)
}

// at is the place of a key's value, or of the mapping when the key is absent.
func (f *Fields) at(key string) *yaml.Node {
	if n := f.values[key]; n != nil {
		return n
	}
	return f.node
}
