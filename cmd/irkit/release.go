package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
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
--delete-pod deletes it. Lists what cannot be put back. Running it twice is harmless.`,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "to-service", Usage: "give the pod back to its controller and its Services"},
			&cli.BoolFlag{Name: "delete-pod", Usage: "delete the pod, and everything that irkit made"},
			&cli.BoolFlag{Name: "force", Usage: "go on also where the pod is not ready, or the cut could not be lifted"},
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
	caseID, err := d.caseToRelease(c, engine)
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
	o.Case = caseID
	if engine.Conn, err = d.connect(c, caseID); err != nil {
		return err
	}
	parole, err := engine.LookRelease(c.Context, caseID, mode)
	if errors.Is(err, fs.ErrNotExist) {
		return refused(fmt.Errorf("case %s is not here: nothing was changed", caseID), "release where the case folder is, or give --home")
	}
	if err != nil {
		return d.ended(err)
	}
	if err := d.mayRelease(c, engine, parole); err != nil {
		return err
	}
	if err := d.showParole(c, parole); err != nil || c.String("dry-run") != "none" {
		return err
	}
	if err := d.confirm(c, "release ("+string(mode)+")", parole.History.Target); err != nil {
		return err
	}
	if !parole.Sealed {
		d.say("case %s is not sealed: sealing first", caseID)
		if _, err := engine.Reseal(c.Context, caseID); err != nil {
			return d.ended(err)
		}
	}
	parole.History.HandOf(&o)
	result, err := engine.Release(c.Context, o, parole, func(q string) bool { return c.Bool("force") || d.ask(q) })
	return d.tellRelease(c, result, err)
}

// caseToRelease is the case that was named, else the one that holds the pod's UID, open
// or released: releasing twice is no error.
func (d *door) caseToRelease(c *cli.Context, e *playbooks.Engine) (string, error) {
	if named := c.String("case"); named != "" {
		return foldCase(named)
	}
	name, err := only(c, "pod")
	if err != nil {
		return "", err
	}
	target, _, live := e.Conn.Resolve(c.Context, name)
	id, found, err := e.Cases.Latest(func(t evidence.Target) bool {
		if live == nil {
			return t.UID == target.UID
		}
		return t.Namespace == e.Conn.Namespace && t.Pod == strings.TrimPrefix(name, "pod/")
	})
	switch {
	case err != nil:
		return "", err
	case found:
		return id, nil
	case live != nil:
		return "", live
	}
	return "", refused(fmt.Errorf("no case of pod %s is here: nothing was changed", target), "release where the case folder is, or give --home")
}

func (d *door) mayRelease(c *cli.Context, e *playbooks.Engine, p playbooks.Parole) error {
	missing, err := e.Conn.Check(c.Context, p.History.Target, p.Rules)
	if err != nil {
		return e.Conn.Explain("ask what we may do", err)
	}
	missing = slices.DeleteFunc(missing, func(m cluster.Missing) bool { return !m.Rule.Required })
	if len(missing) == 0 {
		return nil
	}
	return d.missing(p.History.Target, missing)
}

func (d *door) showParole(c *cli.Context, p playbooks.Parole) error {
	dry := c.String("dry-run") != "none"
	if c.String("output") == "json" {
		if dry {
			return d.json(p)
		}
		return nil
	}
	w := d.stderr
	if dry { // then it is what was asked for
		w = d.stdout
	}
	width, _ := terminal(w)
	fmt.Fprintf(w, "release   %s  case %s  %s\n", quote(p.History.Target.String()), p.History.Case, p.Plan.Mode)
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
	if c.String("output") == "json" {
		if err := d.json(r); err != nil {
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
