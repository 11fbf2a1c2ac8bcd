package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/quarantine/revoke"
)

func (d *door) revoke() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "take credentials of a pod's service account away",
		ArgsUsage: "POD",
		Description: `Isolation does not end a token that was sent out before. Choose what shall: rights, legacy
tokens, or the account itself. Shows whom else it reaches, what cannot be undone, and the
commands for a cloud's own identities, and asks. --dry-run=client without a choice shows
all of it. Release gives no credentials back; --undo does.`,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "bindings", Usage: "take the account out of every binding that names it; can be undone"},
			&cli.BoolFlag{Name: "legacy-tokens", Usage: "mark its legacy tokens invalid; can be undone"},
			&cli.BoolFlag{Name: "delete-legacy-tokens", Usage: "delete its legacy tokens; for ever"},
			&cli.BoolFlag{Name: "recreate-account", Usage: "delete the account and make it anew: every token of it is dead, those of other pods too; for ever"},
			&cli.BoolFlag{Name: "undo", Usage: "give back what was taken in this pod's case, as far as that can be"},
			&cli.BoolFlag{Name: "force", Usage: "also for account default, and for accounts of the cluster's own namespaces"},
			outputFlag(),
		}, actFlags(), clusterFlags(), caseFlags(), keyFlag(), custodyFlags()),
		Action: d.revokePod,
	}
}

// revocations are the layers that the flags choose.
func revocations(c *cli.Context) []string {
	flags := map[string]string{revoke.Bindings: "bindings", revoke.LegacyTokens: "legacy-tokens", revoke.DeletedTokens: "delete-legacy-tokens", revoke.Account: "recreate-account"}
	var out []string
	for _, step := range revoke.Steps() {
		if c.Bool(flags[step]) {
			out = append(out, step)
		}
	}
	return out
}

func (d *door) revokePod(c *cli.Context) error {
	steps := revocations(c)
	switch {
	case c.Bool("undo") && len(steps) > 0:
		return usagef("irkit revoke POD --undo", errors.New("--undo gives back everything that can be: give it alone"))
	case c.Bool("undo"):
		return d.unrevoke(c)
	case c.Bool("legacy-tokens") && c.Bool("delete-legacy-tokens"):
		return usagef("", errors.New("--legacy-tokens and --delete-legacy-tokens: give one"))
	case len(steps) == 0 && c.String("dry-run") == "none":
		return usagef("irkit revoke POD --dry-run=client shows what there is",
			errors.New("say what is to be revoked: --bindings, --legacy-tokens, --delete-legacy-tokens, --recreate-account"))
	case len(steps) == 0:
		steps = []string{revoke.Bindings, revoke.LegacyTokens, revoke.Account}
	}
	plan, err := playbooks.Compile("revoke", actions.RevokePlaybook(steps), actions.Standard())
	if err != nil {
		return err
	}
	order, engine, err := d.revokeOrder(c, plan)
	if err != nil {
		return err
	}
	look, err := engine.Look(c.Context, order)
	if err != nil {
		return d.ended(engine.Conn.Explain("look at the scene", err))
	}
	dry := c.String("dry-run")
	missing := look.Blocked()
	if len(missing) > 0 && (dry != "client" || look.Forecast.Target.UID == "") {
		return d.missing(order.Target, missing)
	}
	for _, m := range missing { // what there is can be looked at without the right to revoke it
		d.warn("not allowed here: %s", m)
	}
	if dry == "server" {
		look.Answers = engine.Try(c.Context, order, look)
	}
	if err := d.show(c, engine.Conn, look); err != nil || dry != "none" {
		return err
	}
	return d.carryOut(c, engine, order, look)
}

// carryOut asks and acts. A session that was ended before it sealed keeps its own bundle.
func (d *door) carryOut(c *cli.Context, engine *playbooks.Engine, order playbooks.Order, look playbooks.Prospect) error {
	if look.Guard != "" {
		return guarded(look.Guard)
	}
	if r := look.Forecast.Refused; len(r) > 0 {
		return refused(fmt.Errorf("%s cannot be done here: nothing was changed", strings.Join(r, ", ")), "the plan says why; leave it out, or see whether --force is meant")
	}
	if len(look.Changes) == 0 {
		d.say("nothing to revoke: nothing was changed")
		return nil
	}
	if err := d.confirm(c, "revoke credentials of", order.Target); err != nil {
		return err
	}
	if h, err := engine.Cases.History(order.Case); err == nil {
		if last, any := h.Last(); any && !last.Sealed {
			d.say("case %s is not sealed: sealing first", order.Case)
			if _, err := engine.Reseal(c.Context, order.Case); err != nil {
				return d.ended(err)
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	result, err := engine.Run(c.Context, order, look)
	return d.tellResult(c, result, err)
}

// revokeOrder is order for a command that needs no hand.
func (d *door) revokeOrder(c *cli.Context, plan *playbooks.Plan) (o playbooks.Order, e *playbooks.Engine, err error) {
	o = playbooks.Order{Plan: plan, Force: c.Bool("force"),
		Authority: evidence.Authority{Basis: c.String("authority"), Purpose: c.String("purpose"), Approver: c.String("approver")}}
	pod, err := only(c, "pod")
	if err != nil {
		return o, nil, err
	}
	if e, err = d.engine(c); err != nil {
		return o, nil, err
	}
	if err := d.resolve(c, e.Conn, &o, pod); err != nil {
		return o, e, err
	}
	if o.Case, err = d.caseOf(c, e, o.Target); err != nil {
		return o, e, err
	}
	if e.Conn, err = d.connect(c, o.Case); err != nil { // now the user agent names the case
		return o, e, err
	}
	if who, err := e.Conn.WhoAmI(c.Context); err == nil {
		e.Actor.Kube, e.Actor.Groups = who.Name, who.Groups
	}
	return o, e, nil
}

// unrevoke gives back what a case's custody log says was taken. The pod need not be there.
func (d *door) unrevoke(c *cli.Context) error {
	engine, err := d.engine(c)
	if err != nil {
		return err
	}
	caseID, err := d.caseToUnrevoke(c, engine)
	if err != nil {
		return err
	}
	if engine.Conn, err = d.connect(c, caseID); err != nil {
		return err
	}
	parole, err := engine.LookUnrevoke(caseID)
	if errors.Is(err, fs.ErrNotExist) {
		return refused(fmt.Errorf("case %s is not here: nothing was changed", caseID), "undo where the case folder is, or give --home")
	}
	if err != nil {
		return d.ended(err)
	}
	if len(parole.Plan.Steps) > 0 {
		if err := d.mayRelease(c, engine, parole); err != nil {
			return err
		}
	}
	if err := d.showParole(c, parole); err != nil || c.String("dry-run") != "none" {
		return err
	}
	if len(parole.Plan.Steps) == 0 {
		d.say("nothing to give back: nothing was changed")
		return nil
	}
	if err := d.confirm(c, "give credentials back to", parole.History.Target); err != nil {
		return err
	}
	if !parole.Sealed {
		d.say("case %s is not sealed: sealing first", caseID)
		if _, err := engine.Reseal(c.Context, caseID); err != nil {
			return d.ended(err)
		}
	}
	result, err := engine.Release(c.Context, playbooks.Order{Case: caseID}, parole, d.ask)
	return d.tellRelease(c, result, err)
}

// caseToUnrevoke is the case that was named, else the pod's newest that holds credentials
// back; a pod that is gone is meant by its name.
func (d *door) caseToUnrevoke(c *cli.Context, e *playbooks.Engine) (string, error) {
	if named := c.String("case"); named != "" {
		return foldCase(named)
	}
	name, err := only(c, "pod")
	if err != nil {
		return "", err
	}
	name = strings.TrimPrefix(name, "pod/")
	target, _, live := e.Conn.Resolve(c.Context, name)
	id, found, err := e.Cases.Revoking(func(t evidence.Target) bool {
		return t.Namespace == e.Conn.Namespace && t.Pod == name && (live != nil || t.UID == target.UID)
	})
	switch {
	case err != nil:
		return "", err
	case found:
		return id, nil
	}
	return "", refused(fmt.Errorf("no case here holds credentials of pod %s/%s back: nothing was changed", e.Conn.Namespace, name), "undo where the case folder is, or give --home or --case")
}

// printHints shows what is to be done in a cloud. A command stands on a line of its own,
// never wrapped, so that it can be copied.
func printHints(w io.Writer, width int, hints []revoke.Hint) {
	if len(hints) == 0 {
		return
	}
	fmt.Fprintf(w, "\nto be done in the cloud, by you\n")
	for _, h := range hints {
		table(w, width, [][]string{{h.Provider, quote(strings.TrimPrefix(h.Principal+": ", ": ") + h.Why)}})
		for _, command := range h.Commands {
			fmt.Fprintf(w, "    %s\n", quote(command))
		}
	}
}
