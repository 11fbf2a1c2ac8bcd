// Package quarantine is the changing wing: it isolates a pod and takes that back.
//
// Survey reads the scene once; Forecast and each Layer's Prepare are pure functions
// over it; Apply makes one write; Judge gives a verdict that is never better than what
// was measured; PlanRelease orders the way back. Every write is an evidence.Change,
// recorded by the caller before and after.
package quarantine
