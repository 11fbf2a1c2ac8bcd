package main

import (
	"github.com/urfave/cli/v2"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/deploy"
)

func nodeFlag() cli.Flag {
	return &cli.BoolFlag{Name: "node", Usage: "instead: namespace and rights for node pods, which are root on the nodes (docs/nodepod.md)"}
}

// rbacNode prints all that node pods need, as one thing to apply: the namespace, its Role,
// and the binding where someone is named.
func (d *door) rbacNode(c *cli.Context) error {
	if _, err := d.stdout.Write(deploy.Node()); err != nil {
		return err
	}
	for _, o := range cluster.RBAC(nodepod.Rules(), grant(c)) {
		binding, ok := o.(*rbacv1.RoleBinding)
		if !ok {
			continue // the Role is in the file
		}
		text, err := cluster.YAML([]runtime.Object{binding})
		if err != nil {
			return err
		}
		if _, err := d.stdout.Write(append([]byte("---\n"), text...)); err != nil {
			return err
		}
	}
	return nil
}
