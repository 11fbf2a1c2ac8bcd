package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

// maxLines is how many lines of one table are read.
const maxLines = 20_000

// process is what the page shows of a line of the artifact processes.
type process struct {
	Opened   string           `json:"opened"`
	PID      int              `json:"pid"`
	PPID     int              `json:"ppid"`
	Ticks    uint64           `json:"start_ticks"`
	Comm     string           `json:"comm"`
	Cmdline  []string         `json:"cmdline"`
	Exe      string           `json:"exe"`
	SHA256   *evidence.Digest `json:"exe_sha256"`
	Deleted  bool             `json:"exe_deleted"`
	Memfd    bool             `json:"memfd"`
	Replaced bool             `json:"replaced"`
	Spoofed  bool             `json:"spoofed"`
	Doubts   []string         `json:"doubts"`
	UIDs     any              `json:"uid"`
	Caps     []string         `json:"caps_eff"`
	Tracer   int              `json:"tracer_pid"`
	Start    time.Time        `json:"start_time"`
	State    string           `json:"state"`
	Self     bool             `json:"self"`
}

// processRow is a process at its place in the tree.
type processRow struct {
	process
	Branch string // box drawing before its number
	Flags  []flag
	User   string
}

type flag struct{ Word, Tone string }

type processTable struct {
	Entry evidence.Entry
	Rows  pages
	Odd   int // rows with a flag that a reader should look at
}

// processes reads one table, joins its readings, and draws its tree.
func (s *source) processes(e evidence.Entry) {
	type id struct {
		pid   int
		ticks uint64
	}
	byID := map[id]*process{}
	readings := map[id]map[string]bool{}
	two := map[string]bool{}
	var order []*process
	bad, more, err := payload.Entry(s.bag, e, maxLines, func(p process) {
		k := id{p.PID, p.Ticks}
		two[p.Opened] = true
		if readings[k] == nil {
			readings[k] = map[string]bool{}
		}
		readings[k][p.Opened] = true
		if old, ok := byID[k]; ok {
			merge(old, p)
			return
		}
		byID[k] = &p
		order = append(order, &p)
	})
	s.absent(e.Parts[0].Path, "processes of "+where(e), err)
	s.partly(e.Parts[0].Path, "processes of "+where(e), bad, more)
	rows := tree(order)
	t := processTable{Entry: e}
	for i := range rows {
		r := &rows[i]
		if seen := readings[id{r.PID, r.Ticks}]; len(two) > 1 && len(seen) == 1 {
			if seen["opening"] {
				r.Flags = append(r.Flags, flag{"gone by the second reading", "unknown"})
			} else {
				r.Flags = append(r.Flags, flag{"began after the first reading", "unknown"})
			}
		}
		if slices.ContainsFunc(r.Flags, func(f flag) bool { return f.Tone == "bad" }) {
			t.Odd++
		}
	}
	t.Rows = paged(rows, e.Parts[0].Path)
	s.v.Processes = append(s.v.Processes, t)
}

// merge takes from a later reading what the first had no time for.
func merge(old *process, p process) {
	if old.SHA256 == nil {
		old.SHA256 = p.SHA256
	}
	if old.Exe == "" {
		old.Exe = p.Exe
	}
	if len(old.Caps) == 0 {
		old.Caps = p.Caps
	}
	old.Deleted, old.Memfd, old.Replaced, old.Spoofed = old.Deleted || p.Deleted, old.Memfd || p.Memfd, old.Replaced || p.Replaced, old.Spoofed || p.Spoofed
	for _, d := range p.Doubts {
		if !slices.Contains(old.Doubts, d) {
			old.Doubts = append(old.Doubts, d)
		}
	}
}

// tree puts children below their parents. A parent that is not there, or that is its own
// ancestor, which a hostile table may say, makes a root.
func tree(all []*process) []processRow {
	children := map[int][]*process{}
	there := map[int]bool{}
	for _, p := range all {
		there[p.PID] = true
	}
	var roots []*process
	for _, p := range all {
		if p.PPID == p.PID || !there[p.PPID] {
			roots = append(roots, p)
		} else {
			children[p.PPID] = append(children[p.PPID], p)
		}
	}
	rows := make([]processRow, 0, len(all))
	done := map[*process]bool{}
	var walk func(p *process, lead string, last, root bool, depth int)
	walk = func(p *process, lead string, last, root bool, depth int) {
		if done[p] {
			return
		}
		done[p] = true
		branch, below := lead+"├ ", lead+"│ "
		if last {
			branch, below = lead+"└ ", lead+"  "
		}
		if root {
			branch, below = "", ""
		}
		if depth > 24 { // deeper than a page is wide
			below = lead
		}
		rows = append(rows, processRow{process: *p, Branch: branch, Flags: flags(p), User: user(p.UIDs)})
		kids := children[p.PID]
		slices.SortStableFunc(kids, func(a, b *process) int { return cmp.Compare(a.PID, b.PID) })
		for i, k := range kids {
			walk(k, below, i == len(kids)-1, false, depth+1)
		}
	}
	slices.SortStableFunc(roots, func(a, b *process) int { return cmp.Compare(a.PID, b.PID) })
	for _, p := range roots {
		walk(p, "", true, true, 0)
	}
	for _, p := range all { // what is left goes round in circles
		walk(p, "", true, true, 0)
	}
	return rows
}

func flags(p *process) []flag {
	var fs []flag
	add := func(on bool, word, tone string) {
		if on {
			fs = append(fs, flag{word, tone})
		}
	}
	add(p.Memfd, "runs from memory (memfd)", "bad")
	add(p.Deleted && !p.Memfd, "executable deleted", "bad")
	add(p.Replaced, "executable replaced on disk", "bad")
	add(p.Spoofed, "name is a disguise", "bad")
	add(p.Tracer != 0, fmt.Sprintf("traced by %d", p.Tracer), "warn")
	add(p.Self, "irkit's own", "unknown")
	return fs
}

// user is the real and effective user of a line that has them all, or one.
func user(v any) string {
	switch u := v.(type) {
	case float64:
		return fmt.Sprintf("%.0f", u)
	case []any:
		var ids []string
		for _, x := range u[:min(2, len(u))] {
			if f, ok := x.(float64); ok {
				ids = append(ids, fmt.Sprintf("%.0f", f))
			}
		}
		return strings.Join(slices.Compact(ids), " → ")
	}
	return ""
}
