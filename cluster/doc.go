// Package cluster is the connection to a Kubernetes cluster: who we are there, what we
// may do, and the way from a pod's name to a pinned evidence.Target and back to the
// live pod or ErrReplaced.
//
// Every request carries a user agent that names the case, and an Audit-ID of its
// own, which WithAudit collects for the custody log.
package cluster
