package report

import (
	"fmt"
	"strings"

	"irkit.dev/irkit/evidence"
)

// summary is one record of the custody log, for people.
type summary struct {
	evidence.Record
	What string
	Tone string
}

var actions = map[evidence.Action]string{
	evidence.ActOpened: "Session opened", evidence.ActAuthorised: "Authorised", evidence.ActIsolated: "Containment",
	evidence.ActHand: "Process beside the target", evidence.ActCaptured: "Captured", evidence.ActCaptureFailed: "Capture failed",
	evidence.ActMeasured: "Measured", evidence.ActStep: "Step", evidence.ActSealed: "Sealed", evidence.ActUploaded: "Uploaded",
	evidence.ActLockVerified: "Lock verified", evidence.ActHashVerified: "Digests verified", evidence.ActReleased: "Release",
	evidence.ActSnapshot: "Volume snapshot",
	evidence.ActAdopted:  "Taken over", evidence.ActRevoked: "Credentials",
	evidence.ActRequested: "Requested", evidence.ActDisturbed: "Disturbed by others", evidence.ActReasserted: "Cut put back", evidence.ActRecovered: "Recovered",
}

var phases = map[evidence.Phase]string{evidence.Intend: "about to", evidence.Did: "done", evidence.FailedP: "failed"}

func summaries(records []evidence.Record) []summary {
	all := make([]summary, 0, len(records))
	for _, r := range records {
		all = append(all, summarise(r))
	}
	return all
}

func summarise(r evidence.Record) summary {
	s := summary{Record: r}
	what := actions[r.Action]
	if what == "" {
		what = string(r.Action)
	}
	parts := []string{what}
	if r.Step != "" {
		parts[0] += " " + r.Step
	}
	if p := phases[r.Phase]; p != "" {
		parts[0] += ", " + p
	}
	if c := r.Change; c != nil {
		parts = append(parts, fmt.Sprintf("%s %s (%s)", c.Op, c.Object, c.Layer), c.Why)
	}
	if n := len(r.Objects); n == 1 {
		parts = append(parts, fmt.Sprintf("%s, %s", r.Objects[0].Path, size(r.Objects[0].Size)))
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d files, from %s", n, r.Objects[0].Path))
	}
	if r.Earlier != nil {
		parts = append(parts, "goes on from "+r.Earlier.Bundle)
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	s.What = strings.Join(parts, " · ")
	switch {
	case r.Phase == evidence.FailedP, r.Result == "failed", r.Action == evidence.ActCaptureFailed:
		s.Tone = "bad"
	case r.Result == "partial":
		s.Tone = "warn"
	}
	return s
}
