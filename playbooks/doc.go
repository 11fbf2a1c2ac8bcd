// Package playbooks says what is done to a target and in which order, and does it.
//
// A playbook is a YAML document: a list of steps, each with one action. Compile
// reads it without touching a cluster and reports every fault at once, with line
// and column. A Session runs a compiled plan against one target: it opens the case
// and the bag, writes the custody log around every write, and always seals what it
// has, also after a failed step or an interrupt. Every command that acts is such a
// playbook: contain and collect are embedded ones.
package playbooks
