package beside_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/collectors/collectortest"
	"irkit.dev/irkit/evidence"
)

// hand gives what a test laid into it; every other method is missing on purpose.
type hand struct {
	agent.Hand
	gives []gift
	err   error
}

type gift struct {
	agent.Header
	body string
	err  error
}

type body struct {
	io.Reader
	trailer evidence.Trailer
}

func (b *body) Trailer() evidence.Trailer { return b.trailer }

func (h *hand) Collect(ctx context.Context, q agent.Request, add func(agent.Header, io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, g := range h.gives {
		var r io.Reader
		if g.Absent == nil {
			r = bytes.NewReader([]byte(g.body))
			if g.err != nil {
				r = io.MultiReader(r, broken{g.err})
			}
			r = &body{r, evidence.Trailer{Size: int64(len(g.body)), Notes: []string{"from the source"}}}
		}
		if err := add(g.Header, r); err != nil {
			return err
		}
	}
	return h.err
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func header(kind, ext string) agent.Header {
	return agent.Header{Kind: kind, Ext: ext, Class: evidence.Internal, Trust: evidence.TrustDebugger, Detail: "of process 1"}
}

var target = evidence.Target{ClusterUID: "k", Namespace: "prod", Pod: "web-0", UID: "u1"}

func collector(t *testing.T, h *hand, kind string) *beside.Collector {
	t.Helper()
	c, err := beside.New(beside.Options{Hand: h, Container: "app", Ordinal: "c0", Image: "reg/x@sha256:1", Request: agent.Request{Kind: kind}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEachArtifactIsFiled(t *testing.T) {
	tree, index := header("filesystem", "tar"), header("filesystem-index", "jsonl")
	tree.Class, tree.OrigName = evidence.Restricted, []byte("/\xff")
	tree.Filter = map[string][]string{"secrets": {"/run/secrets"}}
	sink := &collectortest.Sink{}
	if err := collector(t, &hand{gives: []gift{{Header: tree, body: "tar"}, {Header: index, body: "{}"}}}, "filesystem").Collect(t.Context(), target, sink); err != nil {
		t.Fatal(err)
	}
	if len(sink.Items) != 2 {
		t.Fatalf("%d entries", len(sink.Items))
	}
	a := sink.Items[0]
	if a.Section != evidence.Filesystem || a.Ordinal != "c0" || a.Container != "app" || a.Class != evidence.Restricted || a.Trust != evidence.TrustDebugger ||
		a.MediaType != "application/x-tar" || string(a.OrigName) != "/\xff" || a.Source.How != "agent" || a.Source.Image != "reg/x@sha256:1" || string(a.Bytes) != "tar" {
		t.Errorf("filed as %+v", a)
	}
	if want := []string{"left out (secrets): /run/secrets", "from the source"}; !slices.Equal(a.Entry.Notes, want) {
		t.Errorf("notes %q, want %q", a.Entry.Notes, want)
	}
	if sink.Items[1].Class != evidence.Internal {
		t.Error("the index is not internal")
	}
}

// TestHostileHeaders: T01, T13. What a worker says names no file and raises no trust.
func TestHostileHeaders(t *testing.T) {
	evil := header("../../etc/cron.d/x", "sh/../..")
	evil.Trust, evil.Class, evil.MediaType, evil.Detail = evidence.TrustAPI, "public", "text/html", strings.Repeat("d", 1<<20)
	empty := header("processes", "jsonl")
	empty.Absent = &evidence.Absence{Status: evidence.Collected}
	sink := &collectortest.Sink{}
	h := &hand{gives: []gift{{Header: evil, body: "<script>"}, {Header: empty}}}
	c, err := beside.New(beside.Options{Hand: h, Ordinal: "c0", Trust: evidence.TrustDebuggerSame, Request: agent.Request{Kind: "processes"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Collect(t.Context(), target, sink); err != nil {
		t.Fatal(err)
	}
	a := sink.Items[0]
	if a.Kind != "unrequested" || a.Ext != "bin" || a.MediaType != "application/octet-stream" || a.Trust != evidence.TrustDebuggerSame || a.Class != evidence.Restricted || len(a.Source.Detail) > 1024 {
		t.Errorf("filed as %+v", a.Artifact)
	}
	if len(a.Entry.Notes) == 0 || !strings.Contains(a.Entry.Notes[0], "unrequested") {
		t.Errorf("notes %q", a.Entry.Notes)
	}
	if b := sink.Items[1]; b.Entry.Status != evidence.Impossible || b.Entry.Reason == "" {
		t.Errorf("an absence that claims to be collected: %+v", b.Entry)
	}
}

func TestTruncatedStreams(t *testing.T) {
	cut := fmt.Errorf("%w: at the source: limit", agent.ErrTruncated)
	h := &hand{gives: []gift{{Header: header("filesystem", "tar"), body: "half", err: cut}, {Header: header("filesystem-index", "jsonl"), body: "whole"}}}
	sink := &collectortest.Sink{}
	err := collector(t, h, "filesystem").Collect(t.Context(), target, sink)
	if !errors.Is(err, agent.ErrTruncated) {
		t.Errorf("a short artifact is no error: %v", err)
	}
	if len(sink.Items) != 2 || sink.Items[0].Entry.Status != evidence.Truncated || string(sink.Items[0].Bytes) != "half" || sink.Items[1].Entry.Status != evidence.Collected {
		t.Errorf("entries: %+v", sink.Items)
	}
}

func TestHandIsGone(t *testing.T) {
	sink := &collectortest.Sink{}
	err := collector(t, &hand{err: fmt.Errorf("attach: %w", agent.ErrGone)}, "processes").Collect(t.Context(), target, sink)
	if !errors.Is(err, agent.ErrGone) {
		t.Errorf("lost error: %v", err)
	}
	if len(sink.Items) != 1 || sink.Items[0].Entry.Status != evidence.Impossible {
		t.Errorf("entries: %+v", sink.Items)
	}
}

func TestUnknownKindIsRefused(t *testing.T) {
	if _, err := beside.New(beside.Options{Hand: &hand{}, Ordinal: "c0", Request: agent.Request{Kind: "memory-dump"}}); err == nil {
		t.Error("took an unknown kind")
	}
}

func TestConform(t *testing.T) {
	for _, kind := range beside.Kinds() {
		t.Run(kind, func(t *testing.T) {
			denied := header(kind, "jsonl")
			denied.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: "none of 3 processes may be read: permission denied"}
			collectortest.Conform(t, collectortest.Subject{
				Target: target,
				Whole: func(t *testing.T) collectors.Collector {
					return collector(t, &hand{gives: []gift{{Header: header(kind, "jsonl"), body: "{}\n"}}}, kind)
				},
				Denied: func(t *testing.T) collectors.Collector {
					return collector(t, &hand{gives: []gift{{Header: denied}}}, kind)
				},
			})
		})
	}
}
