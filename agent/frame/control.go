package frame

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Verbs of calls.
const (
	VerbOpen     = "open"
	VerbMeasure  = "measure"
	VerbLift     = "lift"
	VerbKnow     = "know"
	VerbCollect  = "collect"
	VerbDescribe = "describe"
	VerbEnd      = "end"
)

// Ops of control frames.
const (
	opCall   = "call"   // irkit: do Verb with Body
	opCancel = "cancel" // irkit: stop working on Call
	opOpen   = "open"   // worker: an artifact, or with Reply the answer, comes as Stream
	opDone   = "done"   // worker: Call is over, with Fault when it failed
)

type control struct {
	Op     string          `json:"op"`
	Call   uint64          `json:"call"`
	Verb   string          `json:"verb,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
	Stream uint32          `json:"stream,omitempty"`
	Reply  bool            `json:"reply,omitempty"`
	Header *agent.Header   `json:"header,omitempty"`
	Fault  *fault          `json:"fault,omitempty"`
}

// endRecord is the last word on a stream, made where its bytes were read.
type endRecord struct {
	Size    int64           `json:"size"`
	SHA256  evidence.Digest `json:"sha256"`
	Changed bool            `json:"changed,omitempty"`
	Notes   []string        `json:"notes,omitempty"`
	Error   string          `json:"error,omitempty"` // reading ended early
}

// fault is an error on the wire.
type fault struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text"`
}

type code struct {
	name string
	err  error
}

func codes() []code {
	return []code{
		{"node-network", agent.ErrNodeNetwork},
		{"truncated", agent.ErrTruncated},
		{"unsupported", errors.ErrUnsupported},
		{"deadline", context.DeadlineExceeded},
		{"cancelled", context.Canceled},
	}
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Text: clean(err.Error(), 4096)}
	for _, c := range codes() {
		if errors.Is(err, c.err) {
			f.Code = c.name
			break
		}
	}
	return f
}

// RemoteError is an error that the worker reported, in its own words, made safe to
// print. errors.Is finds the contract's errors in it.
type RemoteError struct {
	Verb string
	Text string
	kind error
}

func (e *RemoteError) Error() string { return "hand: " + e.Verb + ": " + e.Text }

// Unwrap is the contract's error, or nil.
func (e *RemoteError) Unwrap() error { return e.kind }

func (f *fault) err(verb string) error {
	if f == nil {
		return nil
	}
	e := &RemoteError{Verb: verb, Text: clean(f.Text, 4096)}
	for _, c := range codes() {
		if c.name == f.Code {
			e.kind = c.err
		}
	}
	return e
}

// clean makes a peer's words safe for a terminal and a log: nothing that does not
// print, no more than limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// checkHeader refuses what a peer may not say: words that could become names, and a
// trust that is not a worker's to give.
func checkHeader(h *agent.Header) error {
	if h == nil {
		return fmt.Errorf("artifact without a header: %w", ErrProtocol)
	}
	for what, s := range map[string]string{"kind": h.Kind, "ext": h.Ext} {
		if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || strings.HasPrefix(s, ".") {
			return fmt.Errorf("artifact with %s %q: %w", what, clean(s, 80), ErrProtocol)
		}
	}
	if h.Kind == "" {
		return fmt.Errorf("artifact without a kind: %w", ErrProtocol)
	}
	switch h.Trust {
	case evidence.TrustNode, evidence.TrustDebugger, evidence.TrustDebuggerSame, "":
	default:
		return fmt.Errorf("artifact %s with trust %q: %w", h.Kind, clean(string(h.Trust), 80), ErrProtocol)
	}
	switch h.Class {
	case evidence.Internal, evidence.Restricted:
	default: // what is not known to be harmless is not
		h.Class = evidence.Restricted
	}
	return nil
}

func unmarshal(f Frame, payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("read control frame %d: %w: %w", f.Seq, ErrProtocol, err)
	}
	return nil
}
