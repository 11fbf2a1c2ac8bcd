package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// caseNamed is the case that --case or the argument names: a case's name, or that of a pod
// (with its namespace: the newest case of it). Empty: none was named.
func (d *door) caseNamed(c *cli.Context, cases playbooks.Cases) (string, error) {
	if named := c.String("case"); named != "" {
		return foldCase(named)
	}
	if !c.Args().Present() {
		return "", nil
	}
	name, err := only(c, "case")
	if err != nil {
		return "", err
	}
	all, err := cases.All()
	if err != nil {
		return "", err
	}
	folded, bad := foldCase(name)
	if bad == nil && slices.Contains(all, folded) {
		return folded, nil
	}
	namespace := c.String("namespace")
	pod := strings.TrimPrefix(name, "pod/")
	id, found, err := cases.Latest(func(t evidence.Target) bool {
		return t.Pod == pod && (namespace == "" || t.Namespace == namespace)
	})
	if err != nil {
		return "", err
	}
	if found {
		return id, nil
	}
	return folded, bad
}
