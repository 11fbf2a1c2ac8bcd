package main

import (
	"github.com/urfave/cli/v2"
	rbacv1 "k8s.io/api/rbac/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/playbooks/builtin"
)

func (d *door) rbac() *cli.Command {
	return &cli.Command{
		Name: "rbac", Usage: "print the least rights that irkit needs, as YAML",
		Description: "irkit rbac -n prod --user alice@example.com | kubectl apply -f -",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "bind the rights in `NAMESPACE`; without it roles are printed unbound"},
			&cli.StringSliceFlag{Name: "user", Usage: "`USER` to bind them to"},
			&cli.StringSliceFlag{Name: "group", Usage: "`GROUP` to bind them to"},
			nodeFlag(),
			&cli.StringFlag{Name: "playbook", Value: "contain", Usage: "for which playbook: a shipped `NAME`"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("node") {
				return d.rbacNode(c)
			}
			source, err := builtin.Source(c.String("playbook"))
			if err != nil {
				return usagef("", err)
			}
			plan, err := playbooks.Compile(c.String("playbook"), source, actions.Standard())
			if err != nil {
				return err
			}
			text, err := cluster.YAML(cluster.RBAC(new(playbooks.Engine).AllRules(plan), grant(c)))
			if err != nil {
				return err
			}
			_, err = d.stdout.Write(text)
			return err
		},
	}
}

// grant says to whom `irkit rbac` binds.
func grant(c *cli.Context) cluster.Grant {
	g := cluster.Grant{Namespace: c.String("namespace")}
	for _, u := range c.StringSlice("user") {
		g.Subjects = append(g.Subjects, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: u})
	}
	for _, group := range c.StringSlice("group") {
		g.Subjects = append(g.Subjects, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: group})
	}
	return g
}
