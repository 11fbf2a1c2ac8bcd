// Package nodepod starts a hand on the target's node, where none can be had beside the
// target: admission forbids the ephemeral container or what it needs, or the pod is a
// static one. The pod is privileged and sees the node's processes: whoever may make it
// is root on every node (docs/nodepod.md). It lives in a namespace of its own, for one
// session, and what it did in the target's network namespace outlives it.
package nodepod
