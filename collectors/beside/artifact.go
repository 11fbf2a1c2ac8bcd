package beside

import (
	"io"
	"maps"
	"slices"
	"strings"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// extensions are those that our worker gives, with their media types.
var extensions = map[string]string{
	"jsonl": "application/x-ndjson", "json": "application/json", "tar": "application/x-tar", "bin": "application/octet-stream",
	"core": "application/x-coredump", "pcapng": "application/x-pcapng",
}

// trusts from best to worst; a header moves down this list only.
var trusts = []evidence.Trust{evidence.TrustAPI, evidence.TrustNode, evidence.TrustDebugger, evidence.TrustDebuggerSame, evidence.TrustTargetBinary}

// artifact takes from a header what it may say.
func (c *Collector) artifact(h agent.Header) evidence.Artifact {
	a := evidence.Artifact{
		Kind: h.Kind, Section: c.k.section, Container: c.o.Container, Ordinal: c.o.Ordinal, Ext: h.Ext,
		Source:   evidence.Source{How: "agent", Detail: clip(h.Detail, 512), Image: c.o.Image},
		OrigName: h.OrigName, Trust: lower(c.o.Trust, h.Trust), Class: evidence.Restricted, Volatility: c.k.rank,
		Compress: h.Compress, Started: h.Started, Absent: h.Absent,
	}
	if h.Class == evidence.Internal {
		a.Class = evidence.Internal
	}
	if !slices.Contains(c.k.answers, h.Kind) {
		a.Kind = "unrequested" // not what was asked for: kept, and marked
		a.Class = evidence.Restricted
	}
	if _, ok := extensions[h.Ext]; !ok {
		a.Ext = "bin"
	}
	a.MediaType = extensions[a.Ext]
	if a.Absent != nil {
		absent := evidence.Absence{Status: evidence.Impossible, Reason: clip(a.Absent.Reason, 1024)}
		if a.Absent.Status == evidence.LeftOut {
			absent.Status = evidence.LeftOut
		}
		if absent.Reason == "" {
			absent.Reason = "the worker gave no reason"
		}
		a.Absent = &absent
	}
	return a
}

func lower(known, said evidence.Trust) evidence.Trust {
	if slices.Index(trusts, said) > slices.Index(trusts, known) {
		return said
	}
	return known
}

func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\ufffd")
	}
	return strings.ToValidUTF8(s[:n], "\ufffd") + " …"
}

// notes turn the header's own words into notes of the entry.
func (c *Collector) notes(h agent.Header) []string {
	var notes []string
	if !slices.Contains(c.k.answers, h.Kind) {
		notes = append(notes, "unrequested: the worker called it "+clip(h.Kind, 64))
	}
	for _, rule := range slices.Sorted(maps.Keys(h.Filter)) {
		notes = append(notes, clip("left out ("+rule+"): "+strings.Join(h.Filter[rule], ", "), 512))
	}
	return notes
}

// noted adds notes to what the reader's own trailer says.
type noted struct {
	io.Reader
	notes []string
}

// Trailer answers after the end.
func (n *noted) Trailer() evidence.Trailer {
	trailer := evidence.Trailer{Size: -1}
	if t, ok := n.Reader.(interface{ Trailer() evidence.Trailer }); ok {
		trailer = t.Trailer()
	}
	trailer.Notes = append(slices.Clone(n.notes), trailer.Notes...)
	return trailer
}
