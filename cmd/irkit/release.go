package main

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

func (d *door) release() *cli.Command {
	return &cli.Command{
		Name:      "release",
		Usage:     "take a containment back",
		ArgsUsage: "POD",
		Description: `Undoes what the custody log says irkit did, and nothing that others did since. Say what
is wanted: --to-service puts the labels back and lets the controller adopt the pod;
--delete-pod deletes it. Lists what cannot be put back. Running it twice is harmless.
--dry-run=server has the API server check every write, admission included, and makes none.

Where the case folder is not here, it shows what the undo annotation on the pod says and
who signed it (--signers), as a diff unless that is a signer of yours, and is refused; with --force
it goes by the annotation, in a case folder of its own here.`,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "to-service", Usage: "give the pod back to its controller and its Services"},
			&cli.BoolFlag{Name: "delete-pod", Usage: "delete the pod, and everything that irkit made"},
			&cli.BoolFlag{Name: "force", Usage: "go on also where the pod is not ready, the cut could not be lifted, or the case folder is not here"},
			&cli.StringFlag{Name: "signers", Usage: "`FILE` of allowed signers, in the format of ssh-keygen(1), for a pod whose case folder is not here"},
			outputFlag(),
		}, actFlags(), handFlags(), clusterFlags(), caseFlags(), keyFlag()),
		Action: d.releasePod,
	}
}

func (d *door) releasePod(c *cli.Context) error {
	mode := quarantine.ToService
	switch {
	case c.Bool("to-service") == c.Bool("delete-pod"):
		return usagef("irkit release POD --to-service, or --delete-pod", errors.New("say what is wanted: --to-service or --delete-pod"))
	case c.Bool("delete-pod"):
		mode = quarantine.DeletePod
	}
	engine, err := d.engine(c)
	if err != nil {
		return err
	}
	held, err := d.toRelease(c, engine)
	if err != nil {
		return err
	}
	var o playbooks.Order
	// Without an image the cut is lifted by the living hand alone.
	if c.String("image") != "" || c.String("debug-image") != "" {
		if err := handOf(c, &o); err != nil {
			return err
		}
	}
	o.Case = held.caseID
	if engine.Conn, err = d.connect(c, held.caseID); err != nil {
		return err
	}
	parole, err := d.lookRelease(c, engine, held, mode)
	if err != nil {
		return err
	}
	if err := d.mayRelease(c, engine, parole); err != nil {
		return err
	}
	if c.String("dry-run") == "server" {
		parole.Answers = engine.TryRelease(c.Context, parole)
	}
	if err := d.showParole(c, parole); err != nil || c.String("dry-run") != "none" {
		return err
	}
	if err := d.mayTrust(c, parole); err != nil {
		return err
	}
	if err := d.confirm(c, "release ("+string(mode)+")", parole.Target); err != nil {
		return err
	}
	if !parole.Sealed {
		d.say("case %s is not sealed: sealing first", parole.Case)
		if _, err := engine.Reseal(c.Context, parole.Case); err != nil {
			return d.ended(err)
		}
	}
	parole.History.HandOf(&o)
	result, err := engine.Release(c.Context, o, parole, func(q string) bool { return c.Bool("force") || d.ask(q) })
	return d.tellRelease(c, result, err)
}

func (d *door) mayRelease(c *cli.Context, e *playbooks.Engine, p playbooks.Parole) error {
	missing, err := e.Conn.Check(c.Context, p.Target, p.Rules)
	if err != nil {
		return e.Conn.Explain("ask what we may do", err)
	}
	missing = slices.DeleteFunc(missing, func(m cluster.Missing) bool { return !m.Rule.Required })
	if len(missing) == 0 {
		return nil
	}
	return d.missing(p.Target, missing)
}

func (d *door) showParole(c *cli.Context, p playbooks.Parole) error {
	dry := c.String("dry-run") != "none"
	if asData(c) {
		if dry || p.Note != nil && !c.Bool("force") {
			_, err := d.data(c, p)
			return err
		}
		return nil
	}
	w := d.stderr
	if dry { // then it is what was asked for
		w = d.stdout
	}
	width, _ := terminal(w)
	fmt.Fprintf(w, "release   %s  case %s  %s\n", quote(p.Target.String()), p.Case, p.Plan.Mode)
	if p.Note != nil {
		printNote(w, width, p)
	}
	var rows [][]string
	for _, s := range p.Plan.Steps {
		rows = append(rows, []string{string(s.Kind), s.Layer, quote(s.Why)})
	}
	table(w, width, rows)
	list := func(title string, all []string) {
		if len(all) == 0 {
			return
		}
		fmt.Fprintf(w, "%s\n", title)
		for _, s := range all {
			table(w, width, [][]string{{quote(s)}})
		}
	}
	list("stays as others left it", p.Plan.Kept)
	list("cannot be put back", p.Plan.Residue)
	printAnswers(w, width, p.Answers)
	return nil
}

// ask asks on a terminal; without one the answer is no.
func (d *door) ask(question string) bool {
	if _, ok := terminal(d.stdin); !ok {
		return false
	}
	fmt.Fprintf(d.stderr, "%s [y/N] ", quote(question))
	answer, err := bufio.NewReader(d.stdin).ReadString('\n')
	return err == nil && slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer)))
}

func (d *door) tellRelease(c *cli.Context, r playbooks.ReleaseResult, err error) error {
	if err != nil {
		return d.ended(err)
	}
	if asData(c) {
		if _, err := d.data(c, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(d.stdout, "case     %s\n", r.Case)
		for _, s := range r.Done {
			fmt.Fprintf(d.stdout, "done     %s\n", quote(s))
		}
		for _, s := range r.Kept {
			fmt.Fprintf(d.stdout, "kept     %s\n", quote(s))
		}
		for _, s := range r.Residue {
			fmt.Fprintf(d.stdout, "residue  %s\n", quote(s))
		}
	}
	if len(r.Failed) > 0 {
		return outcome{statusFailed, withHint(fmt.Errorf("released in part: %s", strings.Join(r.Failed, "; ")), "running it again goes on")}
	}
	return nil
}
