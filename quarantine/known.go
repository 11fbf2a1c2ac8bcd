package quarantine

import (
	"slices"

	"irkit.dev/irkit/evidence"
)

// KnownOf are the tries of a verdict that a later measurement of the same case may go on
// from: of each probe the last one that worked, made by the probe pod or through a pinhole.
func KnownOf(tries []evidence.ProbeResult) []evidence.ProbeResult {
	type kind struct {
		evidence.Probe
		pinhole, compared bool
	}
	last := map[kind]int{}
	for i, r := range tries {
		k := kind{r.Probe, r.Pinhole, r.Compared}
		if !r.Answered || !r.Pinhole && !r.Compared {
			continue
		}
		if had, there := last[k]; !there || !r.At.Before(tries[had].At) {
			last[k] = i
		}
	}
	var at []int
	for _, i := range last {
		at = append(at, i)
	}
	slices.Sort(at)
	out := make([]evidence.ProbeResult, 0, len(at))
	for _, i := range at {
		out = append(out, tries[i])
	}
	return out
}

func compared(known []evidence.ProbeResult) []evidence.ProbeResult {
	return slices.DeleteFunc(slices.Clone(known), func(r evidence.ProbeResult) bool { return !r.Compared })
}

func throughPinholes(known []evidence.ProbeResult, inbound bool) []evidence.ProbeResult {
	return slices.DeleteFunc(slices.Clone(known), func(r evidence.ProbeResult) bool { return !r.Pinhole || r.Inbound != inbound })
}
