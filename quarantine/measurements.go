package quarantine

import (
	"time"

	"irkit.dev/irkit/evidence"
)

// Measurements are what was seen of a quarantine, as the engine gives it to Judge.
// Slices of results may be in any order; times tell.
type Measurements struct {
	Scene   Scene
	Case    string
	Applied []Applied
	Started time.Time // when the command began to act
	Ended   time.Time // when the last measurement ended

	Baseline []evidence.ProbeResult // from inside, before the cut
	// Reachable is what the probe pod reached at the end: it tells for a probe that did not
	// answer in Baseline because a layer held already.
	Reachable []evidence.ProbeResult
	// Known is what earlier measurements of the case saw work: compared ones, which the probe
	// pod made, and those through a pinhole. It tells what works where nothing holds, and
	// never of now.
	Known []evidence.ProbeResult
	After []evidence.ProbeResult // from inside, with every layer on
	// PinholeOut and PinholeIn were tried through a hole in the cut: what stops them is the
	// policy alone. Every try of the series.
	PinholeOut []evidence.ProbeResult
	PinholeIn  []evidence.ProbeResult
	// OutsideBefore and OutsideAfter are the probe pod's tries to reach the target.
	OutsideBefore []evidence.ProbeResult
	OutsideAfter  []evidence.ProbeResult

	FlowsBefore []evidence.Flow // when the opening move read them, listeners too
	MovedBefore []evidence.Flow // those that were seen to move before the cut
	Moving      []evidence.Flow // those that still moved after
	AtCut       []evidence.Flow // connections as the cut had just been made
	FlowsNow    []evidence.Flow // as they were read last; nil: never
	Cut         *evidence.CutReport
	// Disturbed is what others did to the containment, as last looked at; Labels are the
	// target's then. Nil: not looked at.
	Disturbed []evidence.Disturbance
	Labels    map[string]string
	Restarts  []string // containers restarted since the start
	// Undoes says of a layer why the target could undo it, beside what Cut.Weak says.
	Undoes map[string]string
}

// Applied says of one layer that was wanted what became of it.
type Applied struct {
	Layer string
	At    time.Time // when the last of its writes was made
	Error string    // why it was not applied; empty: it was
}

// Targets are the connections that tell of containment.
type Targets struct {
	Inside  []evidence.Probe // from the target's network namespace
	Outside []evidence.Probe // from the probe pod to the target
}
