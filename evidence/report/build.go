package report

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io/fs"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

// view is everything that the page shows.
type view struct {
	Lang, Policy string
	CSS          template.CSS

	Meta    evidence.Meta
	Gaps    []gap // files that are missing or cannot be read
	Verdict *verdict
	Moments picture
	Changes []*change
	Left    []evidence.Alteration // changes that collecting could not avoid

	Forecast   *evidence.Forecast
	Matrix     matrix
	Entries    pages
	Custody    pages
	Processes  []processTable
	Sockets    []socketTable
	Restricted bool // the page shows restricted values in plain
}

// gap is a file of the bag that the page could not use.
type gap struct {
	File, Holds, Why string
}

// source reads the bag, and keeps what was in the way.
type source struct {
	ctx context.Context
	bag fs.FS
	v   *view
}

// absent notes a file that could not be used, and reports whether there was one.
func (s *source) absent(file, holds string, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, fs.ErrNotExist):
		s.v.Gaps = append(s.v.Gaps, gap{file, holds, "is not in this bundle"})
	case errors.Is(err, payload.ErrEncoded):
		s.v.Gaps = append(s.v.Gaps, gap{file, holds, "is encrypted in this bundle; this page shows nothing of it"})
	default:
		s.v.Gaps = append(s.v.Gaps, gap{file, holds, "cannot be read: " + err.Error()})
	}
	return true
}

// partly notes lines of a file that could not be read.
func (s *source) partly(file, holds string, bad int, more bool) {
	if bad > 0 {
		s.v.Gaps = append(s.v.Gaps, gap{file, holds, fmt.Sprintf("has %d lines that cannot be read; the others are shown", bad)})
	}
	if more {
		s.v.Gaps = append(s.v.Gaps, gap{file, holds, "is longer than what this page reads; the file has the rest"})
	}
}

func build(ctx context.Context, bag fs.FS) *view {
	s := &source{ctx, bag, &view{}}
	v := s.v
	s.absent(evidence.EvidenceJSON, "what the bundle is", payload.JSON(bag, evidence.EvidenceJSON, &v.Meta))

	var records []evidence.Record
	bad, _, err := payload.File(bag, evidence.CustodyJSONL, 0, func(r evidence.Record) { records = append(records, r) })
	s.absent(evidence.CustodyJSONL, "the custody log", err)
	s.partly(evidence.CustodyJSONL, "the custody log", bad, false)
	identify(&v.Meta, records)

	var entries []evidence.Entry
	bad, _, err = payload.File(bag, evidence.EntriesJSONL, 0, func(e evidence.Entry) { entries = append(entries, e) })
	s.absent(evidence.EntriesJSONL, "the list of entries", err)
	s.partly(evidence.EntriesJSONL, "the list of entries", bad, false)

	var told evidence.Verdict
	if !s.absent(evidence.VerdictJSON, "the verdict", payload.JSON(bag, evidence.VerdictJSON, &told)) {
		v.Verdict = judge(told)
	}
	var forecast evidence.Forecast
	if !s.absent(evidence.ForecastJSON, "the forecast", payload.JSON(bag, evidence.ForecastJSON, &forecast)) {
		v.Forecast = &forecast
	}
	var plan evidence.Planned
	s.absent(evidence.PlanJSON, "the plan", payload.JSON(bag, evidence.PlanJSON, &plan))
	v.Changes = changes(records, plan)
	v.Left = alterations(records, v.Meta)

	var complete evidence.Completeness
	if s.absent(evidence.CompletenessJSON, "the completeness table", payload.JSON(bag, evidence.CompletenessJSON, &complete)) {
		complete = fromEntries(entries)
	}
	v.Matrix = arrange(complete)
	v.Entries = paged(entries, evidence.EntriesJSONL)
	v.Custody = paged(summaries(records), evidence.CustodyJSONL)
	s.tables(entries)
	v.Moments = draw(moments(v, told, records, entries))
	return v
}

// identify fills in from the custody log what evidence.json would have said.
func identify(m *evidence.Meta, records []evidence.Record) {
	for _, r := range records {
		if m.Bundle == "" {
			m.Bundle, m.Case = r.Bundle, r.Case
		}
		if m.Window.Started.IsZero() {
			m.Window.Started = r.Time
		}
		if r.Target != nil && m.Target.UID == "" {
			m.Target.Target = *r.Target
		}
		if r.Actor != nil && m.Operator.Name == "" {
			m.Operator = *r.Actor
		}
		if r.Authority != nil && m.Legal.Authority == (evidence.Authority{}) {
			m.Legal.Authority = *r.Authority
		}
		if r.Tool != nil && m.Tool.Name == "" {
			m.Tool = *r.Tool
		}
	}
	if n := len(records); n > 0 && m.Window.Finished.IsZero() {
		m.Window.Finished = records[n-1].Time
	}
}

// tables reads the process and socket tables of each container.
func (s *source) tables(entries []evidence.Entry) {
	found := map[string]bool{}
	for _, e := range entries {
		if s.ctx.Err() != nil || e.Kind != "processes" && e.Kind != "connections" {
			continue
		}
		found[e.Kind] = true
		if len(e.Parts) == 0 {
			s.v.Gaps = append(s.v.Gaps, gap{"entry " + e.ID, e.Kind + " of " + where(e), "has no bytes (" + string(e.Status) + "): " + e.Reason})
			continue
		}
		if s.v.Meta.Privacy.Encrypted && e.Class == evidence.Restricted {
			s.absent(e.Parts[0].Path, e.Kind+" of "+where(e), payload.ErrEncoded)
			continue
		}
		s.v.Restricted = s.v.Restricted || e.Class == evidence.Restricted
		if e.Kind == "processes" {
			s.processes(e)
		} else {
			s.sockets(e)
		}
	}
	for _, kind := range []string{"processes", "connections"} {
		if !found[kind] {
			s.v.Gaps = append(s.v.Gaps, gap{kind, "the table of " + kind, "is not in this bundle"})
		}
	}
}

func where(e evidence.Entry) string {
	if e.Container == "" {
		return "the pod"
	}
	return "container " + e.Container
}
