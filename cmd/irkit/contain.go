package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/playbooks/builtin"
	"irkit.dev/irkit/quarantine"
)

func (d *door) contain() *cli.Command {
	return &cli.Command{
		Name:      "contain",
		Usage:     "isolate a pod, prove it, and collect evidence into a sealed bundle",
		ArgsUsage: "POD",
		Description: `Shows the plan and asks. Then: a cut in the pod's network namespace, a quarantine
NetworkPolicy, labels and owner stripped, the node cordoned; what fades first is read
first. Ends with a verdict that was measured, and a bundle that anybody can verify.
Run again on the same pod, it resumes. ` + "`irkit release`" + ` takes it back.`,
		Flags:  flags(isolateFlags(), sessionFlags()),
		Action: func(c *cli.Context) error { return d.session(c, "contain") },
	}
}

func (d *door) collect() *cli.Command {
	return &cli.Command{
		Name:      "collect",
		Usage:     "collect evidence from a pod into a sealed bundle, without isolating it",
		ArgsUsage: "POD",
		Flags:     sessionFlags(),
		Action:    func(c *cli.Context) error { return d.session(c, "collect") },
	}
}

func (d *door) runPlaybook() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a playbook of your own against a pod",
		ArgsUsage: "PLAYBOOK POD",
		Flags:     flags(isolateFlags(), sessionFlags()),
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef("irkit run PLAYBOOK POD", fmt.Errorf("%d arguments, want a playbook's file and a pod", c.NArg()))
			}
			return d.session(c, "")
		},
	}
}

// sessionFlags are those of every command that collects.
func sessionFlags() []cli.Flag {
	return flags([]cli.Flag{
		&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, Usage: "label `SELECTOR` that matches exactly one pod, instead of its name"},
		outputFlag(),
	}, in("Evidence",
		&cli.BoolFlag{Name: "include-secret-values", Usage: "let raw values of environment variables into the bundle; needs --justification"},
		&cli.StringFlag{Name: "justification", Usage: "`TEXT` why raw values are needed; goes into custody"},
		&cli.BoolFlag{Name: "include-volumes", Usage: "copy the content of volumes too; secret and token volumes never"},
		&cli.StringFlag{Name: "memory", Usage: "also take memory, as ELF cores, of `WHOM`: a process's number as the artifact processes has it, all, or anon-exec " +
			"(only executable memory without a file); it holds secrets"},
		&cli.DurationFlag{Name: "packets", Usage: "also record the pod's packets for `TIME`, up to 64 MiB or --max-bytes; with a cut, only what still comes to the pod"},
		&cli.StringFlag{Name: "max-bytes", Usage: "`SIZE` at which an artifact from the hand ends, truncated: 512Mi, 2G"},
	), filesystemFlags(), actFlags(), handFlags(), clusterFlags(), caseFlags(), keyFlag(), custodyFlags(), storeFlags())
}

// isolateFlags are those of every command that isolates.
func isolateFlags() []cli.Flag {
	return in("Isolation",
		&cli.StringSliceFlag{Name: "skip", Usage: "`LAYER` that shall not be applied: netns, netpol, deny, detach, protect, cordon"},
		&cli.BoolFlag{Name: "keep-owner", Usage: "strip labels but leave the ownerReferences"},
		&cli.BoolFlag{Name: "hold", Usage: "keep the pod's API object when someone deletes it, until release: its containers end all the same"},
		&cli.StringSliceFlag{Name: "allow", Usage: "`CIDR[:PORT][/tcp|/udp]` that stays reachable, for the forensics host"},
		&cli.BoolFlag{Name: "allow-dns", Usage: "leave the cluster's DNS reachable: it can carry data out"},
		&cli.StringSliceFlag{Name: "canary", Usage: "`ADDRESS:PORT` to measure from inside, beside what irkit chooses"},
		forceFlag(), protectedFlag(),
	)
}

// session is contain, collect and run: the same road with another playbook.
func (d *door) session(c *cli.Context, shipped string) error {
	ctx := c.Context
	plan, err := d.compile(c, shipped)
	if err != nil {
		return err
	}
	order, engine, err := d.order(c, plan, shipped == "")
	if apierrors.IsForbidden(err) {
		return d.forbidden(c, engine, plan, err)
	}
	if err != nil {
		return err
	}
	look, err := engine.Look(ctx, order)
	if err != nil {
		return d.ended(engine.Conn.Explain("look at the scene", err))
	}
	if missing := look.Blocked(); len(missing) > 0 {
		return d.missing(order.Target, missing)
	}
	d.warnAdmin(c, engine, order.Target.Namespace, look)
	dry := c.String("dry-run")
	if dry == "server" {
		look.Answers = engine.Try(ctx, order, look)
	}
	if err := d.show(c, engine.Conn, look); err != nil || dry != "none" {
		return err
	}
	if look.Guard != "" {
		return guarded(look.Guard)
	}
	if err := d.confirm(c, look.Playbook, order.Target); err != nil {
		return err
	}
	result, err := engine.Run(ctx, order, look)
	return d.tellResult(c, result, err)
}

func (d *door) compile(c *cli.Context, shipped string) (*playbooks.Plan, error) {
	file := "builtin/" + shipped + ".yaml"
	source, err := builtin.Source(shipped)
	if shipped == "" {
		file = c.Args().First()
		source, err = os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && slices.Contains(builtin.Names(), file) {
			source, err = builtin.Source(file)
		}
	}
	if err != nil {
		return nil, usagef("", err)
	}
	plan, err := playbooks.Compile(file, source, actions.Standard())
	if err != nil {
		return nil, usagef("", err)
	}
	return plan, nil
}

// show prints the plan: to stdout when it is what was asked for, else to stderr.
func (d *door) show(c *cli.Context, conn *cluster.Conn, look playbooks.Prospect) error {
	dry := c.String("dry-run") != "none"
	if asData(c) {
		if dry {
			_, err := d.data(c, look)
			return err
		}
		return nil
	}
	w, stream := d.stderr, any(d.stderr)
	if dry {
		w, stream = d.stdout, any(d.stdout)
	}
	width, _ := terminal(stream)
	printPlan(w, width, conn, look)
	if dry {
		printDiffs(w, width, d.painted(stream), look.Changes)
		fmt.Fprintln(w)
	}
	return nil
}

// confirm asks, unless --yes says it already. Without a terminal the order is refused.
func (d *door) confirm(c *cli.Context, what string, t evidence.Target) error {
	if c.Bool("yes") || d.ask(what+" pod "+t.String()+"?") {
		return nil
	}
	err := fmt.Errorf("not confirmed: nothing was changed on %s", t)
	if _, ok := terminal(d.stdin); !ok {
		return refused(err, "add --yes, or run it on a terminal")
	}
	return refused(err)
}

// forbidden is what becomes of a target that we may not even look at: the same table,
// of all that the plan may need in that namespace.
func (d *door) forbidden(c *cli.Context, e *playbooks.Engine, plan *playbooks.Plan, err error) error {
	t := evidence.Target{Namespace: e.Conn.Namespace}
	all, checkErr := e.Conn.Check(c.Context, t, e.AllRules(plan))
	if checkErr != nil || len(all) == 0 {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(all), func(m cluster.Missing) bool { return !m.Rule.Required })
	if len(missing) == 0 {
		missing = all
	}
	return d.missing(t, missing)
}

// missing prints what we may not do, and the YAML that would grant it.
func (d *door) missing(t evidence.Target, missing []cluster.Missing) error {
	var rows [][]string
	var rules []evidence.Rule
	for _, m := range missing {
		rows = append(rows, []string{m.Verb, cluster.Resource(m.Rule), m.Namespace, m.Rule.Why})
		r := m.Rule
		r.Verbs = []string{m.Verb}
		rules = append(rules, r)
	}
	width, _ := terminal(d.stderr)
	fmt.Fprintln(d.stderr, "missing permissions")
	table(d.stderr, width, rows)
	text, err := cluster.YAML(cluster.RBAC(rules, cluster.Grant{Name: "irkit-missing", Namespace: t.Namespace}))
	if err != nil {
		return err
	}
	fmt.Fprintf(d.stderr, "\nthis would grant them\n%s\n", text)
	return refused(fmt.Errorf("%d permissions are missing: nothing was changed", len(missing)), "an administrator applies the YAML above, or all of `irkit rbac`")
}

// guarded refuses to act in a protected namespace.
func guarded(why string) error {
	return refused(fmt.Errorf("%s: nothing was changed", why), "look at the plan, ask who runs that namespace, then --force goes on all the same")
}

// ended gives an error the status of its kind: what was refused before anything was changed.
func (d *door) ended(err error) error {
	var held *custody.HeldError
	switch {
	case errors.Is(err, playbooks.ErrProtected):
		return guarded(err.Error())
	case errors.Is(err, quarantine.ErrForeign):
		return refused(err, "who holds that case releases it, or goes on with it: --case; --force takes the pod over")
	case errors.Is(err, cluster.ErrReplaced), errors.Is(err, cluster.ErrAmbiguous), errors.Is(err, playbooks.ErrOtherTarget), errors.As(err, &held):
		return refused(err)
	}
	return err
}
