package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"irkit.dev/irkit/evidence"
)

// hostile is what a target may call itself: T15 to T17 and more.
const hostile = "</td><script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\u202egnp.exe\u200b\x1b[2J\x1b]52;c;x\x07\r\u009b![x](http://evil.example)```\xff{{.}}"

func lines(t testing.TB, vs ...any) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	for _, v := range vs {
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func p[T any](v T) *T { return &v }

// fixture is a bag as a session leaves it before the seal: a contained pod with an
// intruder in it.
func fixture(t testing.TB) fstest.MapFS {
	t.Helper()
	at := time.Date(2026, 11, 22, 3, 14, 7, 120e6, time.UTC)
	in := func(d time.Duration) time.Time { return at.Add(d) }
	target := evidence.Target{ClusterUID: "7d1c0f3e-5a1b-4d5e-9a57-0f3f4d1c2b3a", Namespace: "prod", Pod: "web-0", UID: "4f2a9c11-0c3d-4b7e-8d0e-1f2a3b4c5d6e", Node: "worker-2"}
	object := evidence.Object{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "prod", Name: "irkit-inc-42"}
	pod := evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: "web-0", UID: target.UID}
	inject := evidence.Change{ID: "hand/inject", Layer: "hand", Op: evidence.OpInject, Object: pod, Why: "a process beside the target reads it and makes the cut", After: json.RawMessage(`{"name":"irkit-4f2a9c11","image":"registry.example/irkit-agent@sha256:aa"}`), Irreversible: "an ephemeral container stays in the pod's spec"}
	policy := evidence.Change{ID: "netpol/create", Layer: "netpol", Op: evidence.OpCreate, Object: object, Why: "deny all traffic of pods that carry the case's label", After: json.RawMessage(`{"podSelector":{"matchLabels":{"irkit.dev/quarantine":"inc-42"}},"policyTypes":["Ingress","Egress"]}`)}
	detach := evidence.Change{ID: "detach/patch", Layer: "detach", Op: evidence.OpPatch, Object: pod, Why: "take the pod out of service web and out of its ReplicaSet", Before: json.RawMessage(`{"labels":{"app":"web"}}`), After: json.RawMessage(`{"labels":{"irkit.dev/quarantine":"inc-42"}}`)}
	cordon := evidence.Change{ID: "cordon/patch", Layer: "cordon", Op: evidence.OpPatch, Object: evidence.Object{APIVersion: "v1", Kind: "Node", Name: "worker-2"}, Why: "no new pods beside the target", Before: json.RawMessage(`{"unschedulable":false}`), After: json.RawMessage(`{"unschedulable":true}`)}
	actor := evidence.Actor{Name: "ana", Kube: "ana@example.com", Host: "laptop-7", Key: "SHA256:Zm9vYmFyYmF6"}
	tool := evidence.Tool{Name: "irkit", Version: "0.1.0", Commit: "abc1234", SHA256: strings.Repeat("ab", 32)}
	auth := evidence.Authority{Basis: "policy IR-7", Purpose: "containment of incident 42", Approver: "duty manager"}
	var records []any
	rec := func(d time.Duration, r evidence.Record) {
		r.V, r.Seq, r.Bundle, r.Case, r.Time, r.Prev = 1, len(records), "irkit-inc-42-01k2", "inc-42", in(d), fmt.Sprintf("%064x", len(records))
		records = append(records, r)
	}
	rec(0, evidence.Record{Action: evidence.ActOpened, Actor: &actor, Tool: &tool, Target: &target, Authority: &auth, Note: "playbook contain"})
	for i, c := range []evidence.Change{policy, inject, detach, cordon} {
		d := time.Duration(i*180+60) * time.Millisecond
		rec(d, evidence.Record{Action: evidence.ActIsolated, Phase: evidence.Intend, Change: &c})
		r := evidence.Record{Action: evidence.ActIsolated, Phase: evidence.Did, Change: &c, Result: "ok", AuditIDs: []string{fmt.Sprintf("a0b1c2d%d", i)}}
		if i == 3 {
			r.Phase, r.Result, r.Errors = evidence.FailedP, "failed", []string{`nodes "worker-2" is forbidden: user cannot patch resource "nodes"`}
		}
		rec(d+90*time.Millisecond, r)
	}
	rec(2*time.Second, evidence.Record{Action: evidence.ActMeasured, Result: "ok", Note: "CONTAINED"})
	rec(64*time.Second, evidence.Record{Action: evidence.ActStep, Step: "collect", Result: "partial", Alterations: []evidence.Alteration{{What: "the agent's own process shows in the target's PID namespace", Why: "it reads from there"}}})

	flow := evidence.Flow{Proto: "tcp", Local: netip.MustParseAddrPort("10.0.1.7:40122"), Remote: netip.MustParseAddrPort("203.0.113.9:443")}
	verdict := evidence.Verdict{
		State: evidence.Contained, Outbound: evidence.Contained, Inbound: evidence.Contained, Started: at, Measured: in(2100 * time.Millisecond),
		Why:                []string{"outbound: 4 of 4 probe targets that answered before the cut no longer answer", "inbound: the probe pod reached port 8080 before, and does not now"},
		EstablishedStopped: p(in(412 * time.Millisecond)), NewStopped: p(in(431 * time.Millisecond)), PolicyHeld: p(in(1650 * time.Millisecond)), PolicyEnforced: p(true),
		Layers: []evidence.LayerVerdict{
			{Layer: "netns", Applied: true, Out: evidence.Contained, In: evidence.Contained, Held: p(in(431 * time.Millisecond)), Why: []string{"nftables netdev and inet on eth0"}},
			{Layer: "netpol", Applied: true, Out: evidence.Contained, In: evidence.Contained, Held: p(in(1650 * time.Millisecond)), Why: []string{"measured through a pinhole"}},
			{Layer: "detach", Applied: true, Out: evidence.Unverified, In: evidence.Unverified, Why: []string{"no network effect of its own"}},
		},
		Probes: []evidence.ProbeResult{{Probe: evidence.Probe{Name: "api-server", Proto: "tcp", Addr: netip.MustParseAddrPort("10.96.0.1:443")}, At: in(300 * time.Millisecond), Answered: true, Took: 800 * time.Microsecond},
			{Probe: evidence.Probe{Name: "api-server", Proto: "tcp", Addr: netip.MustParseAddrPort("10.96.0.1:443")}, At: in(431 * time.Millisecond), Error: "timeout", Took: time.Second}},
		Established: []evidence.Stood{{Flow: flow, Before: 51200, Since: 0}},
		Disturbed:   []evidence.Disturbance{{At: in(2 * time.Second), Code: evidence.LabelBack, Text: "labels that were stripped are on the pod again: app=" + hostile, By: "meddler"}},
		Cut: &evidence.CutReport{Reasserted: 3, Reopened: 9 * time.Millisecond, Installed: in(405 * time.Millisecond), Hooks: []string{"netdev-ingress", "netdev-egress", "inet"}, Devices: []string{"eth0"}, DroppedIn: 12, DroppedOut: 1480,
			Holes:    []evidence.Hole{{Peer: netip.MustParseAddr("10.0.1.1"), Port: 8080, Why: "CNI host address, liveness probe", PacketsIn: 42, BytesIn: 3120, PacketsOu: 40, BytesOut: 5100}},
			Attempts: []evidence.Attempt{{Proto: 6, Addr: netip.MustParseAddr("203.0.113.9"), Port: 443, Packets: 37}, {Proto: 17, Addr: netip.MustParseAddr("10.96.0.10"), Port: 53, Packets: 9}}},
	}
	first := in(-26 * time.Hour)
	procs := lines(t,
		map[string]any{"opened": "opening", "pid": 1, "ppid": 0, "start_ticks": 100, "comm": "web", "cmdline": []string{"/app/web", "--port", "8080"}, "exe": "/app/web", "uid": []int{1000, 1000, 1000, 1000}, "start_time": first},
		map[string]any{"opened": "opening", "pid": 41, "ppid": 1, "start_ticks": 900, "comm": "sh", "cmdline": []string{"sh", "-c", "/tmp/.x"}, "exe": "/bin/sh", "uid": []int{1000, 1000}, "start_time": in(-20 * time.Minute)},
		map[string]any{"opened": "opening", "pid": 42, "ppid": 41, "start_ticks": 901, "comm": "kworker/0:1", "cmdline": []string{"[kworker/0:1]"}, "exe": "/tmp/.x", "exe_deleted": true, "exe_sha256": strings.Repeat("cd", 32), "spoofed": true,
			"doubts": []string{`command line "[kworker/0:1]" looks like a kernel thread's, but "/tmp/.x" runs`}, "uid": []int{1000, 0}, "start_time": in(-19 * time.Minute)},
		map[string]any{"opened": "opening", "pid": 57, "ppid": 42, "start_ticks": 950, "comm": "memfd", "cmdline": []string{"memfd:stage2", hostile}, "exe": "/memfd:stage2", "memfd": true, "uid": []int{0}, "start_time": in(-18 * time.Minute)},
		map[string]any{"opened": "now", "pid": 1, "ppid": 0, "start_ticks": 100, "comm": "web", "cmdline": []string{"/app/web"}, "exe": "/app/web", "exe_sha256": strings.Repeat("ef", 32)},
		map[string]any{"opened": "now", "pid": 90, "ppid": 0, "start_ticks": 1400, "comm": "irkit-agent", "cmdline": []string{"/irkit-agent", "worker"}, "self": true, "uid": []int{0}, "start_time": in(300 * time.Millisecond)},
	)
	conns := lines(t,
		map[string]any{"opened": "opening", "proto": "tcp", "state": "ESTABLISHED", "local": flow.Local, "remote": flow.Remote, "inode": 7, "bytes_acked": 184320, "bytes_received": 912, "owners": []any{map[string]any{"pid": 42, "comm": "kworker/0:1", "exe": "/tmp/.x"}}},
		map[string]any{"opened": "now", "proto": "tcp", "state": "ESTABLISHED", "local": flow.Local, "remote": flow.Remote, "inode": 7, "bytes_acked": 184320, "bytes_received": 912, "owners": []any{}},
		map[string]any{"opened": "opening", "proto": "tcp", "state": "LISTEN", "local": "[::]:8080", "remote": "[::]:0", "inode": 8, "owners": []any{map[string]any{"pid": 1, "comm": "web"}}},
		map[string]any{"opened": "opening", "proto": "packet", "type": "raw", "inode": 9, "owners": []any{map[string]any{"pid": 57, "comm": hostile}}},
		map[string]any{"opened": "opening", "proto": "unix", "inode": 10},
	)
	entry := func(id, kind string, s evidence.Section, f *fstest.MapFile, o evidence.Entry) evidence.Entry {
		o.ID, o.Kind, o.Section, o.Container, o.Ordinal = id, kind, s, "app", "c0"
		o.Started, o.Finished, o.Trust = in(500*time.Millisecond), in(700*time.Millisecond), evidence.TrustDebugger
		if o.Status == "" {
			o.Status = evidence.Collected
		}
		if o.Class == "" {
			o.Class = evidence.Restricted
		}
		if f != nil {
			o.Size = int64(len(f.Data))
			o.Parts = []evidence.Part{{Path: fmt.Sprintf("data/%s/%s-c0-%s.jsonl", s, id, kind), Size: o.Size, SHA256: evidence.Digest{0xab, 0xcd}}}
		}
		return o
	}
	entries := []any{
		entry("0001", "processes", evidence.Volatile, procs, evidence.Entry{}),
		entry("0002", "connections", evidence.Volatile, conns, evidence.Entry{}),
		entry("0003", "log-current", evidence.Logs, &fstest.MapFile{}, evidence.Entry{}),
		entry("0004", "filesystem", evidence.Filesystem, procs, evidence.Entry{Status: evidence.Truncated, Reason: "stream ended before its end record", Notes: []string{"1 file left out: " + hostile}}),
		entry("0005", "volume-data", evidence.Volumes, nil, evidence.Entry{Status: evidence.LeftOut, Reason: "volumes are copied only with --include-volumes"}),
		entry("0006", "log-previous", evidence.Logs, nil, evidence.Entry{Status: evidence.Impossible, Reason: "container has not run before"}),
	}
	row := func(kind, container, ordinal string, s evidence.Status, n int64, reason string) evidence.CompletenessRow {
		return evidence.CompletenessRow{Kind: kind, Container: container, Ordinal: ordinal, Status: s, Size: n, Reason: reason}
	}
	return fstest.MapFS{
		evidence.EvidenceJSON: lines(t, evidence.Meta{Schema: evidence.MetaSchema, Bundle: "irkit-inc-42-01k2", Case: "inc-42",
			Target: evidence.MetaTarget{Target: target, Context: "prod-eu", Server: "https://10.1.2.3:6443", ServerVersion: "v1.37.2", Owner: "ReplicaSet/web-6f7", ServiceAccount: "web", CNI: "cilium", IPs: []string{"10.0.1.7"},
				Containers: []evidence.MetaContainer{{Name: "app", Ordinal: "c0", Image: "registry.example/web:1.4", Digest: "sha256:" + strings.Repeat("12", 32)}, {Name: "proxy", Ordinal: "c1", Image: "registry.example/proxy:2"}}},
			Window: evidence.Window{Started: at, Finished: in(65 * time.Second)}, Clocks: evidence.Clocks{Local: at, APIOffset: p(int64(-14)), NodeOffset: p(int64(3)), Uncertainty: 12},
			Method: evidence.Method{Mode: "debugger", Profile: "P1N", Image: "registry.example/irkit-agent@sha256:aa", Transport: "websocket"}, Tool: tool, Operator: actor,
			Legal: evidence.Legal{Authority: auth}, Privacy: evidence.Privacy{Environment: "names-and-hmac"}, Custody: strings.Repeat("9f", 32), Digests: []string{"sha256", "sha512"}}),
		evidence.EntriesJSONL: lines(t, entries...), evidence.CustodyJSONL: lines(t, records...), evidence.VerdictJSON: lines(t, verdict),
		evidence.PlanJSON: lines(t, evidence.Planned{Playbook: "contain", Changes: []evidence.Change{policy, inject, detach, cordon}}),
		evidence.ForecastJSON: lines(t, evidence.Forecast{Target: target, Layers: []string{"netns", "netpol"}, BudgetSeconds: 30, Findings: []evidence.Finding{
			{Severity: evidence.Warning, Code: "replacement-starts", Layer: "detach", Text: "ReplicaSet web-6f7 starts a replacement at once, from the same image"},
			{Severity: evidence.Note, Code: "endpoint-lost", Layer: "detach", Text: "Service web keeps 2 other endpoints"},
			{Severity: evidence.Refused, Code: "no-permission", Layer: "cordon", Text: "nodes cannot be patched with these credentials"}}}),
		evidence.CompletenessJSON: lines(t, evidence.Completeness{Rows: []evidence.CompletenessRow{
			row("processes", "app", "c0", evidence.Collected, 4312, ""), row("processes", "proxy", "c1", evidence.Impossible, 0, "container has no running process"),
			row("connections", "app", "c0", evidence.Collected, 1290, ""), row("log-current", "app", "c0", evidence.Collected, 0, ""), row("log-current", "proxy", "c1", evidence.Collected, 91231, ""),
			row("filesystem", "app", "c0", evidence.Truncated, 4312, "stream ended before its end record"), row("pod-object", "", "pod", evidence.Collected, 8123, ""),
			row("volume-data", "app", "c0", evidence.LeftOut, 0, "volumes are copied only with --include-volumes")}}),
		"data/01-volatile/0001-c0-processes.jsonl":   procs,
		"data/01-volatile/0002-c0-connections.jsonl": conns,
	}
}
