package playbooks

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Fault is one mistake in a playbook, with its place. Lines and columns count from 1.
type Fault struct {
	File         string
	Line, Column int
	Text         string
}

func (f Fault) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Text)
}

// Faults is the error of Compile: all mistakes at once, in the order of the text.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// At is a fault at a node's place. The file is filled in by Compile.
func At(n *yaml.Node, format string, args ...any) Fault {
	f := Fault{Text: fmt.Sprintf(format, args...)}
	if n != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	return f
}
