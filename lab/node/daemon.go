// Package node keeps the lab's one machine: a process that is the first of its
// own PID, mount, network, host name and IPC namespaces, and that starts every
// daemon of the lab on request.
//
// Since everything is a descendant of that process, and lives in its namespaces,
// killing it ends every daemon, shim and container at once, and takes every
// mount, pinned eBPF object and network device along. Nothing has to be searched
// for, also after a crash.
package node

import (
	"time"
)

// Network says which network namespace a daemon lives in.
type Network string

const (
	Inside  Network = "node"  // the node's
	Outside Network = "host"  // the machine's own: loopback listeners only
	World   Network = "world" // beyond the node: what plays the internet
)

// Daemon is a program to start.
type Daemon struct {
	Name    string // unique among the daemons of a node
	Argv    []string
	Env     []string // added to the node's own environment
	Network Network
	Log     string // the file that takes both output streams, appended to
}

// Process is what became of a daemon.
type Process struct {
	Name    string
	PID     int // as the node sees it
	Started time.Time
	Ended   bool
	Status  string // how it ended; empty while it runs
}

// request and answer are what passes over the node's socket, one of each per
// connection, as JSON.
type request struct {
	Start *Daemon `json:",omitempty"`
	Stop  string  `json:",omitempty"`
}

type answer struct {
	Error     string `json:",omitempty"`
	Processes []Process
}
