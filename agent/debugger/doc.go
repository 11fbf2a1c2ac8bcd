// Package debugger starts hands beside a target as ephemeral containers, and the
// probe pod that looks at it from outside, over client-go alone. Every write goes
// through an evidence.Recorder; what cannot be taken back says so in its Change.
package debugger
