package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// sights are three measurements of one containment: a label comes back and is stripped, a
// probe turns and turns back.
func sights() []playbooks.Sight {
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	try := func(after time.Duration, name, addr string, answered, in, pinhole bool) evidence.ProbeResult {
		return evidence.ProbeResult{Probe: evidence.Probe{Name: name, Proto: "tcp", Addr: netip.MustParseAddrPort(addr), Inbound: in},
			At: at.Add(after), Answered: answered, Pinhole: pinhole}
	}
	first := []evidence.ProbeResult{try(0, "api-server", "10.96.0.1:443", false, false, false), try(0, "inbound", "10.0.0.7:8080", false, true, false),
		try(0, "api-server", "10.96.0.1:443", false, false, true), try(0, "sibling", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535", false, false, false)}
	second := append(first, try(5*time.Second, "api-server", "10.96.0.1:443", true, false, false))
	third := append(second, try(10*time.Second, "api-server", "10.96.0.1:443", false, false, false))
	first[1].Error = "connection refused"
	layers := []evidence.LayerVerdict{{Layer: "netns", Out: evidence.Contained, In: evidence.Contained}, {Layer: "netpol", Out: evidence.Partial, In: evidence.Contained}}
	return []playbooks.Sight{
		{At: at.Add(time.Second), Changed: true, Verdict: evidence.Verdict{State: evidence.Contained, Outbound: evidence.Contained, Inbound: evidence.Contained, Layers: layers, Probes: first}},
		{At: at.Add(6 * time.Second), Changed: true, Restored: []string{"label app=web\x1b[2J"}, Faults: []string{"ask the hand: no answer"},
			Verdict: evidence.Verdict{State: evidence.Partial, Outbound: evidence.Partial, Inbound: evidence.Contained, Layers: layers, Probes: second,
				Disturbed: []evidence.Disturbance{{At: at.Add(4 * time.Second), Code: evidence.LabelBack, Text: "label app=web is back on the pod; field manager meddler wrote it and it is a long sentence"}},
				Why:       []string{"outbound: api-server answered"}}},
		{At: at.Add(11 * time.Second), Changed: true, Verdict: evidence.Verdict{State: evidence.Contained, Outbound: evidence.Contained, Inbound: evidence.Contained, Layers: layers, Probes: third}},
	}
}

// TestWatchBoardAtEightyColumns holds what a person sees, measurement after measurement.
func TestWatchBoardAtEightyColumns(t *testing.T) {
	var got bytes.Buffer
	b := &board{out: &got, width: 80, height: 40, caseID: "20260102-web-0"}
	for _, s := range sights() {
		b.show(s)
	}
	text := strings.ReplaceAll(got.String(), "\033", "<esc>")
	golden1(t, "watch-80.golden", []byte(text))
	if strings.Contains(text, "<esc>[2J") {
		t.Error("what the target wrote reached the terminal")
	}
}

// TestWatchBoardFits: whatever the terminal, no line is wider and the table no higher, so
// that it is drawn over itself.
func TestWatchBoardFits(t *testing.T) {
	for _, size := range [][2]int{{40, 5}, {40, 24}, {80, 10}, {200, 60}} {
		var got bytes.Buffer
		b := &board{out: &got, width: size[0], height: size[1], caseID: "20260102-web-0"}
		for _, s := range sights() {
			b.show(s)
			lines := b.lines()
			if len(lines) >= size[1] {
				t.Errorf("%d lines on %d", len(lines), size[1])
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) >= size[0] {
					t.Errorf("%d wide on %d: %q", utf8.RuneCountInString(l), size[0], l)
				}
			}
		}
		for i := range 20 {
			b.note("step %d", i)
		}
		if !strings.Contains(strings.Join(b.lines(), "\n"), "step 19") && size[1] > 24 {
			t.Error("the last note is not shown")
		}
	}
}
