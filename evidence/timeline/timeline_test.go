package timeline_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/timeline"
)

func file(t *testing.T, lines ...any) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	for _, l := range lines {
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func events(t *testing.T, out []byte) []timeline.Event {
	t.Helper()
	var es []timeline.Event
	for l := range bytes.Lines(out) {
		var e timeline.Event
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatalf("line %q: %v", l, err)
		}
		es = append(es, e)
	}
	return es
}

func TestWrite(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 123456789, time.FixedZone("", -3*3600))
	later := at.Add(time.Second)
	target := evidence.Target{ClusterUID: "c", Namespace: "prod", Pod: "web-0", UID: "u", Node: "n1"}
	path := "data/01-volatile/0001-c0-processes.jsonl"
	procs := file(t,
		map[string]any{"pid": 7, "ppid": 1, "start_ticks": 5, "start_time": at.Add(-time.Hour), "exe": "/tmp/x\u202e", "exe_deleted": true, "cmdline": []string{"x", "\x1b[2J\n<b>"}},
		map[string]any{"pid": 7, "ppid": 1, "start_ticks": 5, "start_time": at.Add(-time.Hour)},
		map[string]any{"pid": 8, "ppid": 1, "start_ticks": 6})
	bag := fstest.MapFS{
		evidence.CustodyJSONL: file(t, evidence.Record{Seq: 0, Action: evidence.ActOpened, Time: at, Target: &target},
			evidence.Record{Seq: 1, Action: evidence.ActIsolated, Phase: evidence.Did, Time: later, Change: &evidence.Change{Layer: "netns", Op: evidence.OpCut, Why: "cut"}}),
		evidence.VerdictJSON: file(t, evidence.Verdict{State: evidence.Contained, Started: at, Measured: later, NewStopped: &later}),
		evidence.EntriesJSONL: file(t, evidence.Entry{ID: "0001", Kind: "processes", Container: "app", Size: int64(len(procs.Data)),
			Parts: []evidence.Part{{Path: path, SHA256: evidence.Digest{1}}}}),
		path: procs,
	}
	var out bytes.Buffer
	if err := timeline.Write(bag, &out); err != nil {
		t.Fatal(err)
	}
	es := events(t, out.Bytes())
	if len(es) != 6 {
		t.Fatalf("%d events, want 2 records, 3 of the verdict, 1 process:\n%s", len(es), &out)
	}
	first := es[0]
	if first.Datetime != "2026-11-22T05:00:00.123456+00:00" || first.Timestamp != at.Add(-time.Hour).UnixMicro() || first.Type != "irkit:process" ||
		first.Path != path || first.SHA256 != (evidence.Digest{1}).Hex() || first.Container != "app" {
		t.Errorf("first event %+v", first)
	}
	for i, e := range es {
		if e.Message == "" || e.Desc == "" || len(e.Tag) == 0 || e.Pod != "web-0" || e.Hostname != "n1" {
			t.Errorf("event %+v lacks a field", e)
		}
		if i > 0 && e.Timestamp < es[i-1].Timestamp {
			t.Errorf("event %d is before the one above it", i)
		}
		if strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("message %q holds what is not seen", e.Message)
		}
	}
}

func TestAbsentAndBroken(t *testing.T) {
	var out bytes.Buffer
	if err := timeline.Write(fstest.MapFS{}, &out); err != nil || out.Len() != 0 {
		t.Errorf("empty bag: %q, %v", &out, err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	bag := fstest.MapFS{
		evidence.CustodyJSONL: file(t, evidence.Record{Action: evidence.ActOpened, Time: at}),
		evidence.VerdictJSON:  {Data: []byte("{")},
	}
	if err := timeline.Write(bag, &out); err == nil || len(events(t, out.Bytes())) != 1 {
		t.Errorf("broken verdict: %q, %v; want the record and an error", &out, err)
	}
}
