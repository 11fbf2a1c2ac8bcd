package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
)

// nodePurpose is that of node pods, whose rights are root on the nodes: a group of their own.
const nodePurpose = "node"

func (d *door) rbac() *cli.Command {
	return &cli.Command{
		Name: "rbac", Usage: "print the least rights that irkit needs, as YAML",
		Description: `irkit rbac -n prod --user alice@example.com | kubectl apply -f -

What each right is for: docs/permissions.md.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "bind the rights in `NAMESPACE`; without it roles are printed unbound"},
			&cli.StringSliceFlag{Name: "user", Usage: "`USER` to bind them to"},
			&cli.StringSliceFlag{Name: "group", Usage: "`GROUP` to bind them to"},
			nodeFlag(),
			&cli.StringSliceFlag{Name: "for", Value: cli.NewStringSlice("contain"), Usage: "`WHAT` they are for: contain (release and status too), collect, revoke, node"},
			outputFlag(),
		},
		Action: func(c *cli.Context) error {
			purposes := flatWords(c.StringSlice("for"))
			if c.Bool("node") {
				purposes = []string{nodePurpose}
			}
			node := slices.Contains(purposes, nodePurpose)
			purposes = slices.DeleteFunc(purposes, func(p string) bool { return p == nodePurpose })
			if node && asData(c) {
				return usagef("leave -o out", errors.New("--for node is YAML to apply: namespace, policy, Role and binding"))
			}
			if node && len(purposes) == 0 {
				return d.rbacNode(c)
			}
			rules, err := playbooks.RulesFor(purposes, actions.Standard(), actions.Sources())
			var unknown *playbooks.UnknownPurposeError
			if errors.As(err, &unknown) {
				return usagef("irkit rbac --for contain,collect", err)
			}
			if err != nil {
				return err
			}
			objects := cluster.RBAC(rules, grant(c))
			if c.String("output") == "json" {
				return d.json(list(objects))
			}
			text, err := cluster.YAML(objects)
			if err != nil {
				return err
			}
			if _, err = d.stdout.Write(text); err != nil || !node {
				return err
			}
			if _, err = d.stdout.Write([]byte("---\n")); err != nil {
				return err
			}
			return d.rbacNode(c)
		},
	}
}

// flatWords splits at commas, so that a flag can be repeated or list its values.
func flatWords(all []string) []string {
	var out []string
	for _, s := range all {
		for w := range strings.SplitSeq(s, ",") {
			if w = strings.TrimSpace(w); w != "" && !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	return out
}

// list is what kubectl apply takes many objects as, in JSON.
func list(objects []runtime.Object) any {
	return struct {
		metav1.TypeMeta `json:",inline"`
		Items           []runtime.Object `json:"items"`
	}{metav1.TypeMeta{APIVersion: "v1", Kind: "List"}, objects}
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
