package actions

import (
	"slices"
	"strconv"
)

// Of package beside, and nobody gets them who did not ask for them.
const (
	kindMemory  = "memory"
	kindPackets = "packets"
)

// MemoryWord tells what may be said of whose memory is wanted.
func MemoryWord(s string) bool {
	pid, err := strconv.Atoi(s)
	return s == "all" || s == "anon-exec" || err == nil && pid > 0
}

// wanted are the step's artifacts, and what the order asks for beside its playbook: the
// first step that asks hands for anything takes that too.
func (c *collecting) wanted() []string {
	if !c.Needs().Hand || !c.first() {
		return c.artifacts
	}
	all := slices.Clone(c.artifacts)
	for _, k := range c.site.Order.Wanted() {
		if !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}

// first tells the plan's first step that asks hands for artifacts.
func (c *collecting) first() bool {
	for _, b := range c.site.Order.Plan.Blueprints {
		if one, ok := b.(collect); ok && one.Needs().Hand {
			return slices.Equal(one.artifacts, c.artifacts)
		}
	}
	return true
}
