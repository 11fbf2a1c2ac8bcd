package debugger

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"irkit.dev/irkit/evidence"
)

// SystemNamespace is where probe pods run; deploy/ makes it.
const SystemNamespace = "irkit-system"

// Transport names how exec streams are carried.
type Transport string

// Transports. Auto tries WebSocket and goes over to SPDY when the upgrade is refused.
const (
	Auto Transport = "auto"
	WS   Transport = "ws"
	SPDY Transport = "spdy"
)

// Host is what every start of a hand needs: the cluster, the journal, the binary.
type Host struct {
	Client   kubernetes.Interface
	Config   *rest.Config // for exec; its wrappers (user agent, audit IDs) are kept
	Recorder evidence.Recorder
	Case     string // folded, as it stands in labels and names

	// Image is irkit's own image. DebugImage is any image with sh, cat, chmod and a
	// writable root, into which Binary is streamed. Exactly one is given.
	Image      string
	DebugImage string
	PullPolicy corev1.PullPolicy                 // IfNotPresent when empty
	Binary     func(arch string) ([]byte, error) // embedded.Binary; needed with DebugImage

	// Secret makes the hand's key from the case, so that a session that is run again
	// finds the hand of the one before. Without it the key is random.
	Secret []byte

	Transport    Transport     // Auto when empty
	MaxLife      time.Duration // of the worker; 24 h when 0
	StartTimeout time.Duration // until the container runs; 2 min when 0
	Grace        time.Duration // without a connection until agent.ErrGone; 2 min when 0

	// Packets says that packets will be recorded, for which the hand needs NET_RAW.
	Packets bool

	// Progress is told, in a few words each, what is waited for; may be nil.
	Progress func(string)
}

// Options says beside which container a hand is started.
type Options struct {
	Host
	Target    evidence.Target
	Container string // a container of the target, running: a regular one, or an init container

	// Profiles are tried in this order; Strong when nil. A hand that makes no cut
	// needs no P1N.
	Profiles []Profile
	// Refused are the profiles that were tried before, for the record.
	Refused []Refusal
}

func (h Host) validate() error {
	switch {
	case h.Client == nil || h.Config == nil || h.Recorder == nil:
		return errors.New("start hand: client, config and recorder are all needed")
	case h.Case == "":
		return errors.New("start hand: no case")
	case (h.Image == "") == (h.DebugImage == ""):
		return errors.New("start hand: exactly one of image and debug image is needed")
	case h.DebugImage != "" && h.Binary == nil:
		return errors.New("start hand: a debug image needs the agent's binary")
	}
	switch h.Transport {
	case "", Auto, WS, SPDY:
		return nil
	}
	return fmt.Errorf("start hand: transport %q: want auto, ws or spdy", h.Transport)
}

func (o Options) validate() error {
	if err := o.Target.Validate(); err != nil {
		return err
	}
	if o.Container == "" {
		return fmt.Errorf("start hand beside %s: no container", o.Target)
	}
	return o.Host.validate()
}

func (h Host) withDefaults() Host {
	if h.PullPolicy == "" {
		h.PullPolicy = corev1.PullIfNotPresent
	}
	if h.Transport == "" {
		h.Transport = Auto
	}
	if h.MaxLife == 0 {
		h.MaxLife = 24 * time.Hour
	}
	if h.StartTimeout == 0 {
		h.StartTimeout = 2 * time.Minute
	}
	if h.Grace == 0 {
		h.Grace = 2 * time.Minute
	}
	if h.Progress == nil {
		h.Progress = func(string) {}
	}
	return h
}

func (h Host) image() string {
	if h.Image != "" {
		return h.Image
	}
	return h.DebugImage
}
