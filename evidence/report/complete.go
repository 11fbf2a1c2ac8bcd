package report

import (
	"cmp"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// matrix is artifact by container. Every cell says something: absent and empty never
// look alike, and neither looks like "not asked for".
type matrix struct {
	Columns []column
	Rows    []row
}

type column struct{ Ordinal, Container string }

type row struct {
	Kind  string
	Cells [][]evidence.CompletenessRow // one for each column; none: not planned
}

func arrange(c evidence.Completeness) matrix {
	var m matrix
	for _, r := range c.Rows {
		if col := (column{r.Ordinal, r.Container}); !slices.Contains(m.Columns, col) {
			m.Columns = append(m.Columns, col)
		}
	}
	// The pod first, then regular, init and ephemeral containers in spec order.
	slices.SortFunc(m.Columns, func(a, b column) int {
		return cmp.Or(cmp.Compare(rank(a.Ordinal), rank(b.Ordinal)), cmp.Compare(len(a.Ordinal), len(b.Ordinal)), strings.Compare(a.Ordinal, b.Ordinal), strings.Compare(a.Container, b.Container))
	})
	for _, r := range c.Rows {
		i := slices.IndexFunc(m.Rows, func(x row) bool { return x.Kind == r.Kind })
		if i < 0 {
			i = len(m.Rows)
			m.Rows = append(m.Rows, row{Kind: r.Kind, Cells: make([][]evidence.CompletenessRow, len(m.Columns))})
		}
		j := slices.Index(m.Columns, column{r.Ordinal, r.Container})
		m.Rows[i].Cells[j] = append(m.Rows[i].Cells[j], r)
	}
	return m
}

func rank(ordinal string) int {
	return strings.Index("pcie", ordinal[:min(1, len(ordinal))])
}

func fromEntries(entries []evidence.Entry) evidence.Completeness {
	var c evidence.Completeness
	for _, e := range entries {
		c.Rows = append(c.Rows, evidence.CompletenessRow{Kind: e.Kind, Section: e.Section, Container: e.Container, Ordinal: e.Ordinal,
			Status: e.Status, Reason: e.Reason, Entries: []string{e.ID}, Size: e.Size})
	}
	return c
}

// statusWord and statusTone say a status in the page's words and colours.
func statusWord(s evidence.Status, size int64) string {
	switch s {
	case evidence.Collected:
		if size == 0 {
			return "collected, empty"
		}
		return "collected"
	case evidence.Changed:
		return "changed while read"
	case evidence.LeftOut:
		return "left out"
	}
	return string(s)
}

func statusTone(s evidence.Status) string {
	switch s {
	case evidence.Collected:
		return "ok"
	case evidence.LeftOut:
		return "unknown"
	case evidence.Changed, evidence.Truncated:
		return "warn"
	}
	return "bad"
}
