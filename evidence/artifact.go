package evidence

import "time"

// Section is a folder of the payload, in order of volatility.
type Section string

// Sections of the payload.
const (
	Volatile   Section = "01-volatile"
	Logs       Section = "02-logs"
	Kubernetes Section = "03-kubernetes"
	Filesystem Section = "04-filesystem"
	Volumes    Section = "05-volumes"
	Outside    Section = "06-outside"
)

// Trust says through whose hands the bytes came.
type Trust string

// Trusts, from the API server down to the target's own programs.
const (
	TrustAPI          Trust = "api"
	TrustNode         Trust = "node"
	TrustDebugger     Trust = "debugger"          // our binary beside the target
	TrustDebuggerSame Trust = "debugger-same-uid" // ours, but the target could have interfered
	TrustTargetBinary Trust = "target-binary"
	// TrustGiven came from outside the cluster, from where the responder said; notes of the
	// entry say whether a digest in the cluster's own words binds it.
	TrustGiven Trust = "given"
)

// Class says who may read an artifact's bytes.
type Class string

// Classes of access.
const (
	Internal   Class = "internal"   // names, counts, structure
	Restricted Class = "restricted" // may hold personal data or secrets
)

// Status says how much of an artifact the bundle holds. Absent and empty never
// look alike: an empty artifact is Collected with size 0.
type Status string

// Statuses of an entry.
const (
	Collected  Status = "collected"
	Truncated  Status = "truncated"  // what came is kept; Reason says what ended it
	Changed    Status = "changed"    // whole, but its source changed while it was read
	LeftOut    Status = "left-out"   // by policy; Reason names it
	Impossible Status = "impossible" // could not be had; Reason says why
)

// Source says where an artifact's bytes came from.
type Source struct {
	How    string `json:"how"`              // agent, api, log, responder
	Detail string `json:"detail,omitempty"` // API path, /proc path, collector's words
	Image  string `json:"image,omitempty"`  // the debug container's image
}

// Artifact describes one captured thing on its way into the bundle. Nothing in it
// that the target chose becomes a file name: the sink makes the name from
// Section, Ordinal, Kind and Ext, which must be [a-z0-9.-].
type Artifact struct {
	Kind       string // processes, connections, log-current: [a-z0-9-]
	Section    Section
	Container  string // the container's name; empty for the pod
	Ordinal    string // c0, i0, e0 (index in spec order), or pod
	Ext        string // jsonl, tar, log
	MediaType  string
	Source     Source
	OrigName   []byte // the exact bytes of the name at the source, where it had one
	Trust      Trust
	Class      Class
	Volatility int // rank; lower fades first (RFC 3227, section 2.1)
	// Compress stores the bytes as zstd; the entry then also holds the size and
	// digest of what was compressed.
	Compress bool
	// Started is when reading began; zero: when the sink was called.
	Started time.Time
	// Absent makes this an entry without bytes: the reader given with it must be nil.
	Absent *Absence
}

// Absence says why an artifact has no bytes.
type Absence struct {
	Status Status // LeftOut or Impossible
	Reason string
}

// Trailer is what a source knows only when its last byte is out. A reader given to a
// Sink may have a method Trailer() Trailer; the sink asks after the end.
type Trailer struct {
	SHA256  Digest   // of the bytes at the source; zero: not known
	Size    int64    // at the source; -1: not known
	Changed bool     // the source changed while it was read
	Notes   []string // what a reader of the entry must know
}

// Part is one file of an entry: big artifacts are split at 1 GiB.
type Part struct {
	Path   string `json:"path"` // in the bag, from its root
	Size   int64  `json:"size"`
	SHA256 Digest `json:"sha256"`
	SHA512 string `json:"sha512,omitempty"` // lower-case hex; payload of a bundle always has it
}

// Encoding says how stored bytes come from the artifact's own.
type Encoding struct {
	Name   string `json:"name"` // zstd
	Size   int64  `json:"size"` // before
	SHA256 Digest `json:"sha256"`
}

// Entry is one line of meta/entries.jsonl: what the bundle says of an artifact.
type Entry struct {
	ID         string    `json:"id"` // NNNN, in order of arrival
	Kind       string    `json:"kind"`
	Section    Section   `json:"section"`
	Container  string    `json:"container,omitempty"`
	Ordinal    string    `json:"ordinal"`
	Status     Status    `json:"status"`
	Reason     string    `json:"reason,omitempty"`
	Parts      []Part    `json:"parts"` // none when nothing was had
	Size       int64     `json:"size"`  // of all parts
	SHA256     Digest    `json:"sha256"`
	Encoding   *Encoding `json:"encoding,omitempty"`
	MediaType  string    `json:"media_type,omitempty"`
	Source     Source    `json:"source"`
	OrigName   string    `json:"orig_name,omitempty"`     // quoted as by strconv.QuoteToASCII
	OrigB64    string    `json:"orig_name_b64,omitempty"` // the exact bytes
	Trust      Trust     `json:"trust"`
	Class      Class     `json:"class"`
	Volatility int       `json:"volatility_rank"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	Notes      []string  `json:"notes,omitempty"`
}
