package playbooks

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/collectors/images"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/quarantine"
)

// Order is what a responder asks for: everything that the door was told, typed.
type Order struct {
	Case      string // folded; see FoldCase and NewCase
	Target    evidence.Target
	Pod       *corev1.Pod
	Plan      *Plan
	Skip      []string // layers that shall not be applied here
	KeepOwner bool
	Hold      bool // keep the pod's API object after a DELETE, until release
	// Force goes on where another case's mark is on the target, which is put back at release,
	// and in a protected namespace.
	Force     bool
	Protected []string // namespaces that are protected beside those which always are
	Allow     []evidence.Allow
	AllowDNS  bool
	Canaries  []evidence.Probe // further probes from inside
	Authority evidence.Authority

	Image, DebugImage string // one of them, where the plan needs a hand
	Pull              corev1.PullPolicy
	Transport         debugger.Transport
	MaxLife           time.Duration

	Values         bool // raw values of environment variables; Justification says why
	Justification  string
	IncludeVolumes bool
	// Memory is whose memory is wanted, beside what the playbook asks for: all, anon-exec or
	// a process's number; empty: nobody's.
	Memory string
	// Packets is how long packets are recorded, beside what the playbook asks for; 0: not.
	Packets time.Duration
	// MaxBytes ends each artifact that comes through a hand; 0: no limit.
	MaxBytes int64

	// Filesystem is drift (only what differs from the image, where that can be read) or whole;
	// empty: what the playbook says.
	Filesystem string
	// Images is where container images may be looked for.
	Images images.Sources

	// OpenStore reaches the place for the sealed bundle; nil: only the case folder. It is
	// called after the seal: a store out of reach costs no evidence.
	OpenStore func(context.Context) (evidence.Store, error)
}

// Wanted are the kinds of artifacts that the order asks for beside its playbook.
func (o Order) Wanted() (kinds []string) {
	if o.Memory != "" {
		kinds = append(kinds, "memory")
	}
	if o.Packets > 0 {
		kinds = append(kinds, packets)
	}
	return kinds
}

// packets is the kind of artifact for which a hand needs one right more.
const packets = "packets"

// wantsPackets tells whether order or playbook asks for packets.
func (o Order) wantsPackets() bool {
	if o.Packets > 0 {
		return true
	}
	return o.Plan != nil && slices.ContainsFunc(o.Plan.Blueprints, func(b Blueprint) bool { return slices.Contains(b.Needs().Artifacts, packets) })
}

// Engine runs orders. One is made for each command; its fields are not written later.
type Engine struct {
	Conn     *cluster.Conn
	Cases    Cases
	Signer   *seal.Key
	Tool     evidence.Tool
	Actor    evidence.Actor
	Binary   func(arch string) ([]byte, error)
	Starter  func(debugger.Host, evidence.Target) Starter // of hands; nil: Debugging
	Now      func() time.Time
	Progress func(format string, args ...any)
}

// host is what every hand of a case is started with.
func (e *Engine) host(o Order, key Key, recorder evidence.Recorder) debugger.Host {
	return debugger.Host{
		Client: e.Conn.Client, Config: e.Conn.Config, Recorder: recorder, Case: o.Case,
		Image: o.Image, DebugImage: o.DebugImage, PullPolicy: o.Pull, Binary: e.Binary,
		Secret: key.For("hand"), Transport: o.Transport, MaxLife: o.MaxLife, Packets: o.wantsPackets(),
		Progress: func(s string) { e.Progress("%s", s) },
	}
}

// detached is a context that an interrupt does not end, for what must be finished.
func detached(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

const handKey = "hand"

// handData keeps how hands are started, so that release and status need not be told.
func (o Order) handData() map[string]any {
	if o.Image == "" && o.DebugImage == "" {
		return nil
	}
	return map[string]any{handKey: map[string]any{
		"image": o.Image, "debug_image": o.DebugImage, "pull": string(o.Pull), "transport": string(o.Transport),
	}}
}

// openedData is what the first record of a run keeps beside who acts: how hands are
// started, and how often the containers had been restarted by then.
func (o Order) openedData() map[string]any {
	data := o.handData()
	if o.Pod == nil {
		return data
	}
	if data == nil {
		data = map[string]any{}
	}
	counts := map[string]any{}
	for name, n := range quarantine.Restarts(o.Pod) {
		counts[name] = int(n)
	}
	data[restartsKey] = counts
	return data
}

// HandOf fills in what the case's log says of how its hands were started, where the
// order says nothing.
func (h History) HandOf(o *Order) {
	if o.Image != "" || o.DebugImage != "" {
		return
	}
	for _, r := range h.Records {
		if m, ok := r.Data[handKey].(map[string]any); ok {
			text := func(k string) string { s, _ := m[k].(string); return s }
			o.Image, o.DebugImage = text("image"), text("debug_image")
			o.Pull, o.Transport = corev1.PullPolicy(text("pull")), debugger.Transport(text("transport"))
		}
	}
}
