package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/playbooks"
)

// tellResult prints what a session came to, and gives it its exit status: the first
// that applies of 130, 5, 3.
func (d *door) tellResult(c *cli.Context, r playbooks.Result, err error) error {
	if err != nil {
		if r.Bundle == "" && errors.Is(err, bag.ErrDiskFull) {
			return refused(fmt.Errorf("nothing was changed: %w", err), "--home FOLDER, or $IRKIT_HOME, on a disk with room for the evidence; 64 MiB of it are kept for the seal")
		}
		if r.Bundle != "" {
			return withHint(err, "what was collected is in "+r.Bundle+"; running the command again seals it")
		}
		return d.ended(err)
	}
	if asData(c) {
		if _, err := d.data(c, r); err != nil {
			return err
		}
	} else {
		d.printResult(r)
	}
	switch {
	case r.Refused != "":
		return refused(fmt.Errorf("nothing was changed on the pod: %s", r.Refused), "who holds that case releases it, or goes on with it: --case; --force takes the pod over")
	case r.Interrupted:
		return outcome{statusInterrupted, fmt.Errorf("interrupted: what was there is sealed in %s", r.Bundle)}
	case r.Verdict != nil && r.Verdict.State != evidence.Contained:
		return outcome{statusNotContained, fmt.Errorf("not proven contained: verdict %s", r.Verdict.State)}
	case len(r.Failed) > 0:
		return outcome{statusPartial, fmt.Errorf("sealed, but not whole: %s", strings.Join(r.Failed, "; "))}
	case r.StoreError != "":
		return outcome{statusPartial, withHint(fmt.Errorf("sealed here, but not stored: %s", r.StoreError), "irkit upload "+r.Bundle+" --store …")}
	}
	return nil
}

func (d *door) printResult(r playbooks.Result) {
	fmt.Fprintf(d.stdout, "bundle   %s\n", r.Bundle)
	fmt.Fprintf(d.stdout, "seal     %s\n", r.Seal)
	if r.Report != "" {
		fmt.Fprintf(d.stdout, "report   %s\n", r.Report)
	}
	if r.Receipt != "" {
		fmt.Fprintf(d.stdout, "receipt  %s\n", r.Receipt)
	}
	fmt.Fprintf(d.stdout, "entries  %d, of which not whole %d\n", r.Entries, r.Missing)
	if r.Verdict != nil {
		d.printVerdict(*r.Verdict)
	}
}

func (d *door) printVerdict(v evidence.Verdict) {
	width, _ := terminal(d.stdout)
	fmt.Fprintf(d.stdout, "verdict  %s  (outbound %s, inbound %s)\n", v.State, v.Outbound, v.Inbound)
	var rows [][]string
	since := func(t *time.Time) string {
		return t.Sub(v.Started).Round(time.Millisecond).String() + " after the start"
	}
	if v.EstablishedStopped != nil {
		rows = append(rows, []string{"established stopped", since(v.EstablishedStopped)})
	}
	if v.NewStopped != nil {
		rows = append(rows, []string{"new stopped", since(v.NewStopped)})
	}
	switch {
	case v.PolicyHeld != nil:
		rows = append(rows, []string{"policy by itself held", since(v.PolicyHeld)})
	case v.PolicyEnforced != nil && !*v.PolicyEnforced:
		rows = append(rows, []string{"policy by itself", "NOT ENFORCED by this cluster's network"})
	}
	rows = append(rows, stood(v)...)
	for _, w := range v.Why {
		rows = append(rows, []string{"because", quote(w)})
	}
	table(d.stdout, width, rows)
}

// stood lists the connections that stood at the cut, those that moved most first.
func stood(v evidence.Verdict) [][]string {
	const most = 5
	var rows [][]string
	for i, s := range v.Established {
		if i == most {
			rows = append(rows, []string{"stood at the cut", fmt.Sprintf("and %d more", len(v.Established)-most)})
			break
		}
		now := s.State
		if s.Gone {
			now = "closed"
		}
		rows = append(rows, []string{"stood at the cut", fmt.Sprintf("%s to %s: %d bytes before, %d since; %s", s.Local, s.Remote, s.Before, s.Since, now)})
	}
	return rows
}
