package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

func (d *door) status() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "what is open, measured anew", ArgsUsage: "[CASE]",
		Description: `Reads the custody logs of the cases on this machine, and asks the cluster whether they
are still true. Writes nothing. Without a cluster it tells what the logs say.`,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "also cases that were released"},
			&cli.BoolFlag{Name: "offline", Usage: "only what the logs say"},
			outputFlag(),
		}, clusterFlags(), caseFlags()),
		Action: d.tellStatus,
	}
}

func (d *door) tellStatus(c *cli.Context) error {
	home, err := d.home(c)
	if err != nil {
		return err
	}
	cases := playbooks.Cases{Home: home}
	ids, err := cases.All()
	if err != nil {
		return err
	}
	named := c.String("case")
	if c.Args().Present() {
		if named, err = only(c, "case"); err != nil {
			return err
		}
	}
	if named != "" {
		id, err := foldCase(named)
		if err != nil {
			return err
		}
		ids = []string{id}
	}
	all := []playbooks.Standing{}
	for _, id := range ids {
		s, err := cases.Recall(id)
		if err != nil {
			return err
		}
		if s.Released && !c.Bool("all") && named == "" {
			continue
		}
		if !c.Bool("offline") && s.Target.UID != "" {
			d.measure(c, &s)
		}
		all = append(all, s)
	}
	if err := d.printStandings(c, all); err != nil {
		return err
	}
	for _, s := range all {
		if s.Verdict != nil && s.Verdict.Outbound == evidence.Failed {
			return outcome{statusNotContained, fmt.Errorf("case %s: traffic passes", s.Case)}
		}
	}
	return nil
}

func (d *door) printStandings(c *cli.Context, all []playbooks.Standing) error {
	if asData(c) {
		_, err := d.data(c, all)
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(d.stdout, "no open case")
	}
	for _, s := range all {
		d.printStanding(s)
	}
	return nil
}

// measure asks the cluster; that it cannot be asked is told, and is no error.
func (d *door) measure(c *cli.Context, s *playbooks.Standing) {
	engine, err := d.looker(c)
	if err == nil {
		if conn, e := d.connect(c, s.Case); e == nil {
			engine.Conn = conn
		}
		ctx, done := context.WithTimeout(c.Context, time.Minute)
		defer done()
		err = engine.Measure(ctx, s)
	}
	if err != nil {
		d.warn("case %s: not measured: %v", s.Case, err)
	}
}

func (d *door) printStanding(s playbooks.Standing) {
	width, _ := terminal(d.stdout)
	fmt.Fprintf(d.stdout, "case     %s\n", s.Case)
	rows := [][]string{{"target", quote(s.Target.String()) + "  uid " + s.Target.UID + "  " + s.Live}}
	var bags []string
	for _, b := range s.Bags {
		word := "sealed"
		if !b.Sealed {
			word = "OPEN"
		}
		bags = append(bags, b.ID+" ("+word+")")
	}
	state := "contained by the log"
	switch {
	case s.Released:
		state = "released"
	case len(s.Changes) == 0 && len(s.Unsure) == 0:
		state = "nothing of ours stands"
	}
	rows = append(rows,
		[]string{"bundles", strings.Join(bags, ", ")},
		[]string{"state", state},
		[]string{"last", s.LastStep + " at " + s.LastTime.UTC().Format(time.RFC3339)})
	add := func(name string, all []string) {
		if len(all) > 0 {
			rows = append(rows, []string{name, quote(strings.Join(all, ", "))})
		}
	}
	add("stands", s.Changes)
	add("unsure", s.Unsure)
	add("revoked", s.Revoked)
	add("left", s.Left)
	add("drift", s.Drift)
	add("faults", s.Faults)
	rows = append(rows, []string{"hand", s.Hand})
	if s.Before != "" {
		rows = append(rows, []string{"verdict then", s.Before})
	}
	if v := s.Verdict; v != nil {
		rows = append(rows, []string{"verdict now", fmt.Sprintf("%s (outbound %s, inbound %s)", v.State, v.Outbound, v.Inbound)})
		for _, w := range v.Why {
			rows = append(rows, []string{"", quote(w)})
		}
	}
	table(d.stdout, width, rows)
}
