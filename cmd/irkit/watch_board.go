package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// board is the live table of irkit watch on a terminal: it stays in its place, and is
// drawn anew with each measurement. Safe for concurrent use.
type board struct {
	mu            sync.Mutex
	out           io.Writer
	width, height int
	caseID        string

	drawn  int // lines that stand on the terminal
	sight  playbooks.Sight
	since  time.Time // of the state
	probes []probeRow
	notes  []string // what was done and what failed, the last ones
}

// probeRow is one probe: its last try, and since when it ends like that.
type probeRow struct {
	last  evidence.ProbeResult
	since time.Time
}

// kept is how many notes, and how many other sentences of a kind, are shown.
const kept = 6

// note keeps a line, and shows it under the table.
func (b *board) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(fmt.Sprintf(format, args...))
	b.draw()
}

func (b *board) keep(text string) {
	b.notes = append(b.notes, text)
	b.notes = b.notes[max(0, len(b.notes)-kept):]
}

// show takes one measurement.
func (b *board) show(s playbooks.Sight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.Verdict.State != b.sight.Verdict.State {
		b.since = s.At
	}
	b.sight = s
	for _, r := range s.Verdict.Probes {
		b.tried(r)
	}
	for _, r := range s.Restored {
		b.keep(clock(s.At) + "  put back  " + r)
	}
	for _, f := range s.Faults {
		b.keep(clock(s.At) + "  " + f)
	}
	b.draw()
}

// tried adds one try, if it is later than what is known of its probe.
func (b *board) tried(r evidence.ProbeResult) {
	if r.Compared {
		return
	}
	i := slices.IndexFunc(b.probes, func(p probeRow) bool { return p.last.Probe == r.Probe && p.last.Pinhole == r.Pinhole })
	switch {
	case i < 0:
		b.probes = append(b.probes, probeRow{r, r.At})
		slices.SortStableFunc(b.probes, func(x, y probeRow) int {
			return cmp.Or(strings.Compare(way(x.last), way(y.last)), strings.Compare(x.last.Name, y.last.Name), x.last.Addr.Compare(y.last.Addr))
		})
	case !r.At.After(b.probes[i].last.At):
	default:
		if r.Answered != b.probes[i].last.Answered {
			b.probes[i].since = r.At
		}
		b.probes[i].last = r
	}
}

// draw puts the table where it stood.
func (b *board) draw() {
	var to strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&to, "\033[%dA\r\033[J", b.drawn)
	}
	lines := b.lines()
	for _, l := range lines {
		to.WriteString(l + "\n")
	}
	b.drawn = len(lines)
	_, _ = io.WriteString(b.out, to.String()) // a terminal that is gone shows nothing
}

// lines are the table, none wider and all together no higher than the terminal.
func (b *board) lines() []string {
	v := b.sight.Verdict
	out := []string{fmt.Sprintf("%s since %s  out %s  in %s  %s", v.State, clock(b.since), v.Outbound, v.Inbound, b.caseID),
		"measured " + clock(b.sight.At) + "  " + strings.Join(pulse(v), "  "), ""}
	const row = "%-28s  %-9s  %-9s  %v"
	out = append(out, fmt.Sprintf(row, "PROBE", "LAST TRY", "SINCE", "ADDRESS"))
	for _, p := range b.probes {
		state := "no answer"
		switch {
		case p.last.Answered:
			state = "ANSWERED"
		case strings.Contains(p.last.Error, "refused"):
			state = "refused"
		}
		out = append(out, fmt.Sprintf(row, way(p.last)+p.last.Name+" "+p.last.Proto, state, clock(p.since), p.last.Addr))
	}
	for _, l := range v.Layers {
		out = append(out, fmt.Sprintf("layer %-22s  out %s  in %s", l.Layer, l.Out, l.In))
	}
	section := func(title string, all []string) {
		if len(all) == 0 {
			return
		}
		out = append(out, "", title)
		for _, t := range all[max(0, len(all)-kept):] {
			out = append(out, "  "+t)
		}
	}
	var disturbed []string
	for _, d := range v.Disturbed {
		disturbed = append(disturbed, clock(d.At)+"  "+d.Text)
	}
	section("DISTURBED", disturbed)
	section("BECAUSE", v.Why)
	section("DONE", b.notes)
	if len(out) > b.height-1 {
		out = append(out[:max(1, b.height-2)], "…")
	}
	for i, l := range out {
		l = strings.TrimRight(quote(l), " ")
		if utf8.RuneCountInString(l) > b.width-1 {
			l = string([]rune(l)[:b.width-2]) + "…"
		}
		out[i] = l
	}
	return out
}

// way says from where a probe is tried.
func way(r evidence.ProbeResult) string {
	switch {
	case r.Inbound && r.Pinhole:
		return "in (policy) "
	case r.Inbound:
		return "in "
	case r.Pinhole:
		return "out (policy) "
	}
	return "out "
}

func clock(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format("15:04:05Z")
}
