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
		Name: "status", Usage: "what is open, measured anew", ArgsUsage: "[POD|CASE]",
		Description: `Reads the custody logs of the cases on this machine, and asks the cluster whether they
are still true: do our marks stand, what did others do to them, what passes now, layer by layer.
Writes nothing to the cluster, so that inbound is not measured; --probe starts a probe pod for
that, as recorded steps of the case. That the hand was asked is a custody record.
Without a cluster it tells what the logs say. Exit status 5 when a containment
is not proven now (without --probe: when what was measured does not prove it).`,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "also cases that were released"},
			&cli.BoolFlag{Name: "probe", Usage: "measure inbound too, from a probe pod that is started for it"},
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
	named, err := d.caseNamed(c, cases)
	if err != nil {
		return err
	}
	if named != "" {
		ids = []string{named}
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
		if why := unproven(s, c.Bool("probe")); why != "" {
			return outcome{statusNotContained, fmt.Errorf("case %s: not proven contained: %s", s.Case, why)}
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
		if c.Bool("probe") {
			err = engine.MeasureWithProbe(ctx, s)
		} else {
			err = engine.Measure(ctx, s)
		}
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
	for _, o := range s.Disturbed {
		rows = append(rows, []string{"others", quote(strings.TrimSuffix(o.Text+"; written by "+o.By, "; written by "))})
	}
	rows = append(rows, []string{"hand", s.Hand})
	if s.Before != "" {
		rows = append(rows, []string{"verdict then", s.Before})
	}
	if v := s.Verdict; v != nil {
		rows = append(rows, []string{"verdict now", fmt.Sprintf("%s (outbound %s, inbound %s)", v.State, v.Outbound, v.Inbound)})
		for _, l := range v.Layers {
			rows = append(rows, []string{"layer " + l.Layer, fmt.Sprintf("outbound %s, inbound %s", l.Out, l.In)})
		}
		rows = append(rows, stood(*v)...)
		for _, w := range v.Why {
			rows = append(rows, []string{"", quote(w)})
		}
	}
	table(d.stdout, width, rows)
}

// unproven says why a case that is open is not proven contained by what was measured
// now; empty: it is, as far as it was measured.
func unproven(s playbooks.Standing, probed bool) string {
	v := s.Verdict
	switch {
	case v == nil || s.Released || len(s.Changes) == 0:
		return ""
	case v.Outbound != evidence.Contained:
		return "outbound " + string(v.Outbound)
	case v.Inbound == evidence.Contained || !probed && v.Inbound == evidence.Partial:
		return ""
	}
	return "inbound " + string(v.Inbound)
}
