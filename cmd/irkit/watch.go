package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

func (d *door) watch() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "keep measuring a containment, and put back what others take away", ArgsUsage: "POD|CASE",
		Description: `Measures a contained pod again and again: on a terminal a table of the probes, how each ended
last and since when, and of what others did; else a line when the state changes, and a heartbeat.
What others undo (labels or owner put back, our mark or policy gone, the node opened, the cut
lifted) is named and put back at once, each as a record in the case's custody; --tell-only puts
nothing back.
A probe pod stands meanwhile, so that inbound is measured too; --no-probe leaves it out. Ctrl-C ends
it; the exit status is that of the last measurement: 0 contained, 5 not proven contained. The same
ends with the release of the case.`,
		Flags: flags([]cli.Flag{
			&cli.DurationFlag{Name: "every", Value: 5 * time.Second, Usage: "`TIME` between two measurements"},
			&cli.DurationFlag{Name: "for", Usage: "`TIME` to watch (default: until Ctrl-C)"},
			&cli.BoolFlag{Name: "tell-only", Usage: "put nothing back"},
			&cli.BoolFlag{Name: "no-probe", Usage: "start no probe pod: inbound is then unknown, and the verdict PARTIAL at best"},
			outputFlag(),
		}, clusterFlags(), caseFlags()),
		Action: d.watchCase,
	}
}

func (d *door) watchCase(c *cli.Context) error {
	home, err := d.home(c)
	if err != nil {
		return err
	}
	if c.Duration("every") < time.Second || c.Duration("for") < 0 {
		return usagef("--every 5s --for 1h", errors.New("--every: want one second or more; --for: want a time"))
	}
	id, err := d.caseNamed(c, playbooks.Cases{Home: home})
	if err != nil {
		return err
	}
	if id == "" {
		return usagef("irkit watch POD -n NAMESPACE", errors.New("no pod or case given"))
	}
	engine, err := d.looker(c)
	if err != nil {
		return err
	}
	if engine.Conn, err = d.connect(c, id); err != nil {
		return err
	}
	if who, err := engine.Conn.WhoAmI(c.Context); err == nil {
		engine.Actor.Kube, engine.Actor.Groups = who.Name, who.Groups
	}
	tell := func(s playbooks.Sight) { d.sight(c, s) }
	if width, height, live := screen(d.stdout); live && c.String("output") != "json" {
		b := &board{out: d.stdout, width: width, height: height, caseID: id}
		tell, engine.Progress = b.show, b.note
	}
	v, err := engine.Watch(c.Context, id, playbooks.Vigil{
		Every: c.Duration("every"), For: c.Duration("for"), Probe: !c.Bool("no-probe"), Only: c.Bool("tell-only"), Tell: tell,
	})
	switch {
	case errors.Is(err, playbooks.ErrReleased):
		d.say("%v", err)
		return nil
	case errors.Is(err, playbooks.ErrUnsealed):
		return refused(err, "irkit contain seals it when it ends; after a crash, running it again does")
	case err != nil:
		return d.ended(err)
	case v.State != evidence.Contained:
		return outcome{statusNotContained, fmt.Errorf("not proven contained: verdict %s", v.State)}
	}
	return nil
}

// sight tells one measurement in lines, where there is no terminal.
func (d *door) sight(c *cli.Context, s playbooks.Sight) {
	if c.String("output") == "json" {
		if err := json.NewEncoder(d.stdout).Encode(s); err != nil { // a line each
			d.warn("%v", err)
		}
		return
	}
	v := s.Verdict
	if s.Changed {
		fmt.Fprintf(d.stdout, "%s  %s  (outbound %s, inbound %s)\n", s.At.UTC().Format(time.RFC3339), v.State, v.Outbound, v.Inbound)
		width, _ := terminal(d.stdout)
		var rows [][]string
		for _, l := range v.Layers {
			rows = append(rows, []string{"layer " + l.Layer, fmt.Sprintf("outbound %s, inbound %s", l.Out, l.In)})
		}
		for _, w := range v.Why {
			rows = append(rows, []string{"because", quote(w)})
		}
		table(d.stdout, width, rows)
	}
	for _, r := range s.Restored {
		fmt.Fprintf(d.stdout, "%s  put back  %s\n", s.At.UTC().Format(time.RFC3339), quote(r))
	}
	for _, f := range s.Faults {
		d.warn("%s", f)
	}
	fmt.Fprintf(d.stdout, "%s  %s  %s\n", s.At.UTC().Format(time.RFC3339), v.State, strings.Join(pulse(v), "  "))
}

// pulse is what a heartbeat says beside the state.
func pulse(v evidence.Verdict) []string {
	out := []string{fmt.Sprintf("moving %d", len(v.Moving))}
	if c := v.Cut; c != nil {
		out = append(out, fmt.Sprintf("dropped out %d in %d", c.DroppedOut, c.DroppedIn))
		if c.Reasserted > 0 {
			out = append(out, fmt.Sprintf("cut put back %d times, open %s in all", c.Reasserted, c.Reopened.Round(100*time.Microsecond)))
		}
	}
	if n := len(v.Disturbed); n > 0 {
		out = append(out, fmt.Sprintf("disturbed %d", n))
	}
	return out
}
