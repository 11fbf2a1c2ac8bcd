// Package builtin holds the playbooks that irkit ships.
package builtin

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Source is the text of a shipped playbook.
func Source(name string) ([]byte, error) {
	b, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no shipped playbook %q (there are %s)", name, strings.Join(Names(), ", "))
	}
	return b, nil
}

// Names are the shipped playbooks in order of the alphabet.
func Names() []string {
	names, _ := fs.Glob(files, "*.yaml") // the pattern is well formed
	for i, n := range names {
		names[i] = strings.TrimSuffix(n, ".yaml")
	}
	return names
}
