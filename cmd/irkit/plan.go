package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// printPlan shows a person what an order would do, before anything is done.
func printPlan(w io.Writer, width int, conn *cluster.Conn, p playbooks.Prospect) {
	t := p.Forecast.Target
	fmt.Fprintf(w, "target    %s  uid %s  node %s\n", quote(t.String()), t.UID, quote(t.Node))
	fmt.Fprintf(w, "cluster   %s  context %s\n", quote(conn.Cluster), quote(conn.Context))
	fmt.Fprintf(w, "case      %s  playbook %s (%s)\n", p.Case, p.Playbook, strings.Join(p.Steps, ", "))
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
	printHints(w, width, p.Hints)
	if len(p.Answers) > 0 {
		fmt.Fprintf(w, "\nthe API server's answers (dryRun=All, nothing stored)\n")
		var rows [][]string
		for _, a := range p.Answers {
			word := "admitted"
			if !a.OK {
				word = "REFUSED"
			}
			rows = append(rows, []string{word, a.Change, quote(a.Text)})
		}
		table(w, width, rows)
	}
	fmt.Fprintln(w)
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
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > room {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// quote shows control characters of text that may come from the target.
func quote(s string) string { return strings.Map(visible, strings.ReplaceAll(s, "\n", " ")) }
