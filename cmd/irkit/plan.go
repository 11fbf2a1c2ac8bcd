package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

func (d *door) plan() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "say what contain would do to a pod, field by field, and write nothing",
		ArgsUsage: "POD",
		Description: `The same as irkit contain --dry-run=client, by the same code: what would be written,
what will follow, what cannot be done, what stays for ever, and how it is taken back.
With --dry-run=server the API server checks every write too, admission included.`,
		Flags: flags(isolateFlags(), sessionFlags()),
		Action: func(c *cli.Context) error {
			if c.String("dry-run") == "none" {
				if err := c.Set("dry-run", "client"); err != nil {
					return fmt.Errorf("set --dry-run: %w", err)
				}
			}
			return d.session(c, "contain")
		},
	}
}

// printPlan shows a person what an order would do, before anything is done.
func printPlan(w io.Writer, width int, conn *cluster.Conn, p playbooks.Prospect) {
	t := p.Forecast.Target
	fmt.Fprintf(w, "target    %s  uid %s  node %s\n", quote(t.String()), t.UID, quote(t.Node))
	fmt.Fprintf(w, "cluster   %s  context %s\n", quote(conn.Cluster), quote(conn.Context))
	fmt.Fprintf(w, "case      %s  playbook %s (%s)\n", p.Case, p.Playbook, strings.Join(p.Steps, ", "))
	for i, line := range wrap(inShort(p), max(width-10, 30)) {
		head := "in short"
		if i > 0 {
			head = ""
		}
		fmt.Fprintf(w, "%-8s  %s\n", head, line)
	}
	if len(p.Changes) > 0 {
		fmt.Fprintf(w, "\nwill be written\n")
		table(w, width, changeRows(p.Changes))
	}
	sections := []struct {
		severity evidence.Severity
		title    string
	}{
		{evidence.Refused, "cannot be done here"},
		{evidence.Warning, "will follow, and needs your eye"},
		{evidence.Note, "will follow"},
	}
	for _, s := range sections {
		printFindings(w, width, s.title, s.severity, p.Forecast.Findings)
	}
	printIrreversible(w, width, p.Changes)
	printWayBack(w, width, p)
	printHints(w, width, p.Hints)
	printAnswers(w, width, p.Answers)
	fmt.Fprintln(w)
}

// inShort is the plan in one line: how much is written, what needs an eye.
func inShort(p playbooks.Prospect) string {
	irreversible := 0
	for _, c := range p.Changes {
		if c.Irreversible != "" {
			irreversible++
		}
	}
	warnings := 0
	for _, f := range p.Forecast.Findings {
		if f.Severity == evidence.Warning {
			warnings++
		}
	}
	parts := []string{counted(len(p.Changes), "write", "writes")}
	if irreversible > 0 {
		parts = append(parts, fmt.Sprintf("%d of which cannot be taken back", irreversible))
	}
	if warnings > 0 {
		parts = append(parts, counted(warnings, "warning", "warnings"))
	}
	if n := len(p.Forecast.Refused); n > 0 {
		parts = append(parts, counted(n, "layer", "layers")+" cannot be here: "+strings.Join(p.Forecast.Refused, ", "))
	}
	refused := 0
	for _, a := range p.Answers {
		if !a.OK {
			refused++
		}
	}
	if refused > 0 {
		parts = append(parts, counted(refused, "write", "writes")+" the API server refuses")
	}
	return strings.Join(parts, " · ")
}

func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// printWayBack says how what is written is taken back.
func printWayBack(w io.Writer, width int, p playbooks.Prospect) {
	if len(p.Want.Layers) == 0 {
		return
	}
	t := p.Forecast.Target
	if p.Playbook == "revoke" {
		fmt.Fprintf(w, "\ntaken back by\n")
		table(w, width, [][]string{{"--undo", "irkit revoke " + quote(t.Pod) + " -n " + quote(t.Namespace) + " --undo: what does not stay for ever"}})
		return
	}
	back := "irkit release " + quote(t.Pod) + " -n " + quote(t.Namespace) + " --case " + p.Case
	fmt.Fprintf(w, "\ntaken back by\n")
	table(w, width, [][]string{
		{"--to-service", back + " --to-service: every field above as it was, but what others changed since; the controller adopts the pod again"},
		{"--delete-pod", back + " --delete-pod: the pod goes, with everything that irkit made"},
	})
}

// printAnswers shows what the API server said to each write that it tried.
func printAnswers(w io.Writer, width int, answers []playbooks.Answer) {
	if len(answers) == 0 {
		return
	}
	fmt.Fprintf(w, "\nthe API server's answers (dryRun=All, nothing stored)\n")
	var rows [][]string
	for _, a := range answers {
		word := "admitted"
		if !a.OK {
			word = "REFUSED"
		}
		text := quote(a.Change)
		if a.Text != "" {
			text += ": " + quote(a.Text)
		}
		rows = append(rows, []string{word, text})
		for _, warning := range a.Warnings {
			rows = append(rows, []string{"", "warns: " + quote(warning)})
		}
	}
	table(w, width, rows)
}

func changeRows(changes []evidence.Change) [][]string {
	var rows [][]string
	for _, c := range changes {
		rows = append(rows, []string{c.Layer, string(c.Op), quote(c.Object.String()) + ": " + quote(c.Why)})
	}
	return rows
}

func printFindings(w io.Writer, width int, title string, severity evidence.Severity, all []evidence.Finding) {
	var rows [][]string
	for _, f := range all {
		if f.Severity == severity {
			rows = append(rows, []string{f.Code, quote(f.Text)})
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	table(w, width, rows)
}

func printIrreversible(w io.Writer, width int, changes []evidence.Change) {
	seen := map[string]bool{}
	var rows [][]string
	for _, c := range changes {
		if c.Irreversible != "" && !seen[c.Irreversible] {
			seen[c.Irreversible] = true
			rows = append(rows, []string{c.Irreversible})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintf(w, "\nstays for ever\n")
		table(w, width, rows)
	}
}

// table prints rows with the last column wrapped to the width.
func table(w io.Writer, width int, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	columns := len(rows[0])
	indent := 2
	for i := range columns - 1 {
		widest := 0
		for _, r := range rows {
			widest = max(widest, len(r[i]))
		}
		indent += widest + 2
	}
	room := max(width-indent, 30)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for i, line := range wrap(r[columns-1], room) {
			cells := make([]string, columns)
			if i == 0 {
				copy(cells, r)
			}
			cells[columns-1] = line
			fmt.Fprintf(tw, "  %s\n", strings.Join(cells, "\t"))
		}
	}
	_ = tw.Flush() // its errors are the writer's, which a terminal does not have
}

func wrap(s string, room int) []string {
	var lines []string
	line := []rune{}
	for text := range strings.FieldsSeq(s) {
		word := []rune(text)
		if len(line) > 0 && len(line)+1+len(word) > room {
			lines, line = append(lines, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, word...)
		for len(line) > room { // one word that is wider than the terminal
			lines, line = append(lines, string(line[:room])), line[room:]
		}
	}
	return append(lines, string(line))
}

// quote shows control characters of text that may come from the target.
func quote(s string) string { return strings.Map(visible, strings.ReplaceAll(s, "\n", " ")) }
