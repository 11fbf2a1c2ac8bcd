// Package agent holds irkit's hands: the static binary that works beside the target,
// the protocol that it speaks, and the hosts that start it. This file is what a
// hand can do, as both sides see it; every value is JSON on the wire.
package agent

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"irkit.dev/irkit/evidence"
)

// Errors of a Hand.
var (
	// ErrTruncated ends a stream whose end record never came, or whose bytes do
	// not match it. What was read before it is whole and in order.
	ErrTruncated = errors.New("stream ended before its end record")
	// ErrNodeNetwork is the refusal to cut a network namespace that is the node's.
	ErrNodeNetwork = errors.New("network namespace is the node's")
	// ErrGone says that the worker is no longer there; a new hand is needed.
	ErrGone = errors.New("hand is gone")
)

// Hand is a worker beside the target. It reconnects by itself when its stream
// breaks, resumes where the last acknowledged byte was, and gives up with ErrGone
// after the time its host was given. Safe for concurrent use; calls run in turn.
type Hand interface {
	// Open is the opening move, in one call: socket and process tables into the
	// worker's memory, baseline probes, then the cut. Calling it again does not cut
	// twice and answers what the first call did, with the cut as it stands: rules that
	// someone took away since are put back.
	Open(ctx context.Context, o Opening) (Opened, error)
	// Measure tries probes and reads flows and counters. It changes nothing but the
	// pinholes that it is asked for.
	Measure(ctx context.Context, m Measurement) (Measured, error)
	// Lift takes the cut away. Without a cut of that case it does nothing.
	Lift(ctx context.Context, caseID string) error
	// Know gives the worker marks of files whose bytes it need not send, for requests with
	// Known set; see package known. Marks of a further Begin replace those before.
	Know(ctx context.Context, k Known) error
	// Collect streams the artifacts of one request, one after the other, to add. A
	// reader passed to add ends with io.EOF only when every byte came and its digest
	// is the one computed at the source; else with an error that wraps ErrTruncated.
	// It also has the method Trailer() evidence.Trailer.
	Collect(ctx context.Context, r Request, add func(Header, io.Reader) error) error
	// Describe says who the worker is.
	Describe(ctx context.Context) (Identity, error)
	// Close ends the connection, and the worker too when end is set.
	Close(ctx context.Context, end bool) error
}

// Opening asks for the opening move.
type Opening struct {
	Baseline []evidence.Probe `json:"baseline"` // tried all at once before the cut
	Limit    time.Duration    `json:"limit_ns"` // for all of them; 150 ms when 0
	Cut      *Cut             `json:"cut"`      // nil: only read
}

// Cut asks for the packet filter in the target's network namespace.
type Cut struct {
	Case  string           `json:"case"`
	Holes []evidence.Hole  `json:"holes"`
	Allow []evidence.Allow `json:"allow"`
	// NodeAddrs are the node's own addresses: a namespace that has one of them on a
	// device is the node's, and is refused with ErrNodeNetwork.
	NodeAddrs []netip.Addr `json:"node_addrs"`
}

// Opened is what the opening move found and did.
type Opened struct {
	Read      time.Time              `json:"read"`      // when the tables were read
	Processes int                    `json:"processes"` // in the process table kept for Collect
	Flows     []evidence.Flow        `json:"flows"`     // before the cut
	Baseline  []evidence.ProbeResult `json:"baseline"`  // before the cut
	Cut       *evidence.CutReport    `json:"cut,omitempty"`
	// AtCut are the flows as the cut had just been made: what moved since is counted from here.
	AtCut []evidence.Flow        `json:"at_cut,omitempty"`
	After []evidence.ProbeResult `json:"after"` // the answered ones, tried again at once
	Again bool                   `json:"again"` // an earlier call did it; this is its answer
	// Faults say what of the reading could not be had, or not before the cut: a hostile
	// process table must not delay it.
	Faults []string `json:"faults,omitempty"`
}

// Measurement asks for a look from inside the target's network namespace.
type Measurement struct {
	// Case is whose cut is measured; empty: that of the opening move.
	Case   string           `json:"case,omitempty"`
	Probes []evidence.Probe `json:"probes"`
	Limit  time.Duration    `json:"limit_ns"` // for all of them; 1 s when 0
	// Pinhole tries each probe through a one-second five-tuple hole in the cut, so that
	// what is left to stop it is the policy alone.
	Pinhole bool `json:"pinhole"`
	// Inbound opens a one-second hole for connections from Peer to the local Port.
	Inbound *Inbound `json:"inbound,omitempty"`
	// Settle is how long flows are watched for movement; 0: read once.
	Settle time.Duration `json:"settle_ns"`
}

// Inbound names an inbound pinhole.
type Inbound struct {
	Peer netip.Addr `json:"peer"`
	Port uint16     `json:"port"`
}

// Measured is what a measurement saw.
type Measured struct {
	At     time.Time              `json:"at"`
	Probes []evidence.ProbeResult `json:"probes"`
	Flows  []evidence.Flow        `json:"flows"`
	Moving []evidence.Flow        `json:"moving"` // whose counters rose while watched
	Cut    *evidence.CutReport    `json:"cut,omitempty"`
}

// Request asks for artifacts of one kind.
type Request struct {
	// Kind: processes, connections (as read by the opening move, and now),
	// environment, open-files, mounts, recovered (deleted executables, memfds,
	// deleted open files), filesystem, persistence (the known places of a file system);
	// only where somebody asked for it: memory, packets.
	Kind string `json:"kind"`
	// ContainerID names the container that is meant, without its scheme, where one
	// worker sees several (a shared PID namespace). Empty: the worker's own target.
	ContainerID string `json:"container_id,omitempty"`
	// HMACKey keys the digests that stand for values which stay out.
	HMACKey []byte `json:"hmac_key,omitempty"`
	// Values lets raw values of environment variables in.
	Values bool `json:"values,omitempty"`
	// SkipMounts are mount points, in the target's own words, whose content stays out:
	// secret, token and projected volumes always; all volumes unless they were asked for.
	SkipMounts []string `json:"skip_mounts,omitempty"`
	// Known leaves out the bytes of files that the marks of Know stand for; the index has
	// them, with their digests. Without a whole list of marks the request is refused.
	Known bool `json:"known,omitempty"`
	// Wire names the compression between worker and receiver: s2 (default), zstd, none.
	Wire string `json:"wire,omitempty"`
	// MaxBytes ends an artifact; it is then truncated. Of memory it is what all processes
	// may have together. 0: no limit.
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// Memory says whose memory is meant, of kind memory: "all" of the target's processes,
	// one by its number, or of all only the executable regions without a file ("anon-exec",
	// also when empty).
	Memory string `json:"memory,omitempty"`
	// Window is how long packets are recorded; 30 s when 0, an hour at most.
	Window time.Duration `json:"window_ns,omitempty"`
}

// Known is a piece of a list of marks (package known): at most KnownPiece bytes, in rising order
// over all pieces.
type Known struct {
	Begin bool   `json:"begin,omitempty"` // the first piece, under this key
	Key   []byte `json:"key,omitempty"`
	Marks []byte `json:"marks"` // eight bytes each, big-endian
	Last  bool   `json:"last,omitempty"`
}

// KnownPiece is how many bytes of marks one call carries.
const KnownPiece = 512 << 10

// Header says what artifact comes next. Fields are the target's or the worker's word,
// never names of files.
type Header struct {
	Kind      string              `json:"kind"`
	Ext       string              `json:"ext"`
	MediaType string              `json:"media_type"`
	Detail    string              `json:"detail"`
	OrigName  []byte              `json:"orig_name,omitempty"`
	Class     evidence.Class      `json:"class"`
	Rank      int                 `json:"rank"`
	Compress  bool                `json:"compress"` // worth zstd at rest
	Started   time.Time           `json:"started"`
	Trust     evidence.Trust      `json:"trust"`
	Absent    *evidence.Absence   `json:"absent,omitempty"`
	Filter    map[string][]string `json:"filter,omitempty"` // what was left out on the way, by rule
}

// Identity is what a worker says of itself.
type Identity struct {
	Version   string            `json:"version"`
	Arch      string            `json:"arch"`
	SHA256    evidence.Digest   `json:"sha256"` // of its own executable
	PID       int               `json:"pid"`
	UID       int               `json:"uid"`
	Caps      []string          `json:"caps"`
	NetNS     uint64            `json:"netns"` // inode
	TargetPID int               `json:"target_pid"`
	TargetUID int               `json:"target_uid"`
	Started   time.Time         `json:"started"`
	Ends      time.Time         `json:"ends"` // --max-life
	Kernel    string            `json:"kernel"`
	Clock     time.Time         `json:"clock"` // the node's, now
	Memory    map[string]uint64 `json:"memory,omitempty"`
}
