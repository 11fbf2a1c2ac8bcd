//go:build linux

package worker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/frame"
	"irkit.dev/irkit/evidence"
)

// target is a Reader and a Cutter that write down what was asked of them, in order.
type target struct {
	mu       sync.Mutex
	did      []string
	hang     chan struct{} // Snapshot waits for it
	cutErr   error
	stands   string
	payload  []byte
	panicked bool
}

func (f *target) note(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, s)
}

func (f *target) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.did, " ")
	f.did = nil
	return s
}

var flow = evidence.Flow{Proto: "tcp", Local: netip.MustParseAddrPort("10.0.0.1:5"), Remote: netip.MustParseAddrPort("10.0.0.2:6"), Inode: 77}

func (f *target) Snapshot(context.Context) (int, []evidence.Flow, error) {
	if f.hang != nil {
		<-f.hang
	}
	if f.panicked {
		panic("hostile table")
	}
	f.note("tables")
	return 5, []evidence.Flow{flow}, nil
}

func (f *target) Flows(context.Context) ([]evidence.Flow, error) {
	owned := flow
	owned.PID, owned.Comm = 42, "c2"
	return []evidence.Flow{owned}, nil
}

func (f *target) Know(k agent.Known) error {
	f.note(fmt.Sprintf("know:%d", len(k.Marks)))
	return nil
}

func (f *target) Collect(_ context.Context, r agent.Request, emit func(agent.Header, io.Reader) error) error {
	f.note("collect:" + r.Kind)
	return emit(agent.Header{Kind: r.Kind, Ext: "bin", Trust: evidence.TrustDebugger, Class: evidence.Internal}, bytes.NewReader(f.payload))
}

func (f *target) Cut(_ context.Context, c agent.Cut) (evidence.CutReport, error) {
	f.note("cut:" + c.Case)
	if f.cutErr != nil {
		return evidence.CutReport{}, f.cutErr
	}
	f.stands = c.Case
	return evidence.CutReport{Hooks: []string{"inet"}}, nil
}

func (f *target) Lift(_ context.Context, c string) error {
	f.note("lift:" + c)
	f.stands = ""
	return nil
}

func (f *target) Report(_ context.Context, c string) (evidence.CutReport, error) {
	if f.stands != c {
		return evidence.CutReport{}, ErrNoCut
	}
	return evidence.CutReport{DroppedOut: 9}, nil
}

func (f *target) Probe(_ context.Context, ps []evidence.Probe, limit time.Duration) []evidence.ProbeResult {
	f.note("probe:" + limit.String())
	var rs []evidence.ProbeResult
	for _, p := range ps {
		rs = append(rs, evidence.ProbeResult{Probe: p, Answered: p.Name != "dead"})
	}
	return rs
}

func (f *target) ProbeThroughPinhole(_ context.Context, c string, ps []evidence.Probe, _ time.Duration) ([]evidence.ProbeResult, error) {
	f.note("pinhole:" + c)
	return make([]evidence.ProbeResult, len(ps)), nil
}

func (f *target) OpenInbound(_ context.Context, c string, in agent.Inbound) error {
	f.note("inbound:" + c + ":" + in.Peer.String())
	return nil
}

func (f *target) Settle(_ context.Context, d time.Duration) (moving, flows []evidence.Flow, err error) {
	if d > 0 {
		moving = []evidence.Flow{flow}
	}
	return moving, []evidence.Flow{flow}, nil
}

// piped is exec's two streams as the relay and irkit hold them.
type piped struct {
	io.Reader
	io.WriteCloser
	out *io.PipeReader
}

func (p piped) Close() error { _ = p.out.Close(); return p.WriteCloser.Close() }

// begin runs a worker on its real socket and attaches to it through a real relay.
func begin(t *testing.T, o Options) (agent.Hand, chan error, *relays) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Key = pub
	if o.Self, err = Look(); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ran <- Run(ctx, o); close(ran) }()
	t.Cleanup(func() { stop(); <-ran })
	rs := &relays{}
	h, err := frame.Connect(t.Context(), rs.dialer(pub), key, frame.ClientOptions{Backoff: time.Millisecond, Grace: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(context.WithoutCancel(t.Context()), false) })
	return h, ran, rs
}

// relays remembers the connections it made, so that a test can break them.
type relays struct {
	mu   sync.Mutex
	made []io.Closer
}

func (r *relays) dialer(key ed25519.PublicKey) frame.Dialer {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		go func() {
			err := Relay(ctx, key, inR, outW)
			_ = outW.CloseWithError(errors.Join(io.ErrUnexpectedEOF, err))
			_ = inR.CloseWithError(io.ErrClosedPipe)
		}()
		p := piped{outR, inW, outR}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made = append(r.made, p)
		return p, nil
	}
}

func (r *relays) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.made)
}

func (r *relays) breakLast() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.made[len(r.made)-1].Close()
}

func TestOpeningMoveKeepsItsOrder(t *testing.T) {
	f := &target{}
	h, _, _ := begin(t, Options{Reader: f, Cutter: f})
	baseline := []evidence.Probe{{Name: "api-server"}, {Name: "dead"}}
	o, err := h.Open(t.Context(), agent.Opening{Baseline: baseline, Cut: &agent.Cut{Case: "c1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.took(), "tables probe:150ms cut:c1 probe:150ms"; got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	if o.Processes != 5 || len(o.Flows) != 1 || len(o.Baseline) != 2 || len(o.After) != 1 || o.Cut == nil || o.Again {
		t.Errorf("opened: %+v", o)
	}
	again, err := h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c1"}})
	if err != nil || !again.Again || again.Processes != 5 || again.Cut == nil || strings.TrimSpace(f.took()) != "cut:c1" {
		t.Errorf("opened again: %+v, %v", again, err)
	}
	m, err := h.Measure(t.Context(), agent.Measurement{
		Probes: baseline, Pinhole: true, Settle: time.Millisecond,
		Inbound: &agent.Inbound{Peer: netip.MustParseAddr("10.9.9.9"), Port: 80},
	})
	if got, want := f.took(), "inbound:c1:10.9.9.9 pinhole:c1"; err != nil || got != want {
		t.Errorf("measured %q, %v; want %q", got, err, want)
	}
	if m.Cut == nil || m.Cut.DroppedOut != 9 || len(m.Moving) != 1 || m.Moving[0].Comm != "c2" {
		t.Errorf("measured: %+v", m)
	}
	if err := h.Lift(t.Context(), "c1"); err != nil {
		t.Error(err)
	}
	if m, err = h.Measure(t.Context(), agent.Measurement{Case: "c1"}); err != nil || m.Cut != nil {
		t.Errorf("measured after the lift: %+v, %v", m, err)
	}
	f.took()
	if o, err = h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c1"}}); err != nil || o.Again || !strings.Contains(f.took(), "cut:c1") {
		t.Errorf("opened after the lift: %+v, %v", o, err)
	}
}

func TestReadingAloneThenCutting(t *testing.T) {
	f := &target{}
	h, _, _ := begin(t, Options{Reader: f, Cutter: f})
	if o, err := h.Open(t.Context(), agent.Opening{}); err != nil || o.Cut != nil {
		t.Errorf("opened: %+v, %v", o, err)
	}
	if o, err := h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c"}}); err != nil || o.Cut == nil || o.Again {
		t.Errorf("opened to cut: %+v, %v", o, err)
	}
}

// TestHostileTablesDoNotDelayTheCut: a snapshot that hangs, or panics, is a fault in
// the answer, and the cut is made.
func TestHostileTablesDoNotDelayTheCut(t *testing.T) {
	for name, f := range map[string]*target{"hangs": {hang: make(chan struct{})}, "panics": {panicked: true}} {
		h, _, _ := begin(t, Options{Reader: f, Cutter: f})
		o, err := h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c"}})
		if err != nil || o.Cut == nil || len(o.Faults) == 0 {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		if f.hang != nil {
			close(f.hang)
		}
	}
}

func TestFailedCutTellsWhatWasRead(t *testing.T) {
	f := &target{cutErr: agent.ErrNodeNetwork}
	h, _, _ := begin(t, Options{Reader: f, Cutter: f})
	o, err := h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c"}})
	if !errors.Is(err, agent.ErrNodeNetwork) || o.Processes != 5 {
		t.Errorf("opened: %+v, %v", o, err)
	}
	f.cutErr = nil
	if o, err := h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c"}}); err != nil || o.Again || o.Cut == nil {
		t.Errorf("opened again: %+v, %v", o, err)
	}
}

func TestCollectSurvivesBrokenRelays(t *testing.T) {
	f := &target{payload: bytes.Repeat([]byte("0123456789abcdef"), 1<<19)} // 8 MiB
	h, _, rs := begin(t, Options{Reader: f, Cutter: f})
	for _, wire := range []string{"s2", "none"} {
		err := h.Collect(t.Context(), agent.Request{Kind: "filesystem", Wire: wire}, func(_ agent.Header, r io.Reader) error {
			var got bytes.Buffer
			for {
				n, err := io.CopyN(&got, r, 1<<20)
				if err == io.EOF {
					break
				}
				if err != nil {
					return err
				}
				if n == 1<<20 {
					rs.breakLast()
				}
			}
			if !bytes.Equal(got.Bytes(), f.payload) {
				t.Errorf("%s: %d bytes passed as whole", wire, got.Len())
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", wire, err)
		}
	}
	if n := rs.count(); n < 3 {
		t.Errorf("only %d connections were made", n)
	}
}

func TestWithoutATarget(t *testing.T) {
	f := &target{}
	h, _, _ := begin(t, Options{Cutter: f, NoTarget: ErrNoTarget})
	o, err := h.Open(t.Context(), agent.Opening{Cut: &agent.Cut{Case: "c"}})
	if err != nil || o.Cut == nil || len(o.Flows) != 1 || len(o.Faults) != 1 {
		t.Errorf("opened: %+v, %v", o, err)
	}
	err = h.Collect(t.Context(), agent.Request{Kind: "processes"}, nil)
	if err == nil || !strings.Contains(err.Error(), ErrNoTarget.Error()) {
		t.Errorf("collect: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	h, _, _ := begin(t, Options{Cutter: &target{}, Version: "v1", TargetPID: os.Getpid()})
	id, err := h.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id.Version != "v1" || id.PID != os.Getpid() || id.TargetUID != os.Getuid() || id.SHA256.IsZero() || id.NetNS == 0 ||
		id.Kernel == "" || id.Memory["VmRSS"] == 0 || !id.Ends.Equal(id.Started.Add(24*time.Hour)) {
		t.Errorf("identity: %+v", id)
	}
}

func TestWorkerEnds(t *testing.T) {
	h, ran, _ := begin(t, Options{Cutter: &target{}})
	if err := h.Close(t.Context(), true); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-ran; err != nil {
		t.Errorf("worker ended with %v", err)
	}
	_, ran, _ = begin(t, Options{Cutter: &target{}, MaxLife: 300 * time.Millisecond})
	if err := <-ran; err != nil {
		t.Errorf("worker ended with %v", err)
	}
}

func TestTarget(t *testing.T) {
	proc := t.TempDir()
	id := strings.Repeat("ab12", 16)
	for pid, p := range map[string][2]string{
		"1":   {"0::/pause\n", "1 (pause) S 0"},
		"20":  {"0::/../cri-containerd-" + id + ".scope\n", "20 (a) b) S 1"},
		"15":  {"0::/../cri-containerd-" + id + ".scope\n", "15 (young) S 1"},
		"30":  {"0::/other\n", "30 (x) S 1"},
		"31":  {"0::/../" + id + "\n", "31 (no start"},
		"net": {"", ""},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		start := map[string]string{"20": "100", "15": "900"}[pid]
		stat := p[1] + strings.Repeat(" 0", 17) + " " + start
		if pid == "31" {
			stat = p[1]
		}
		_ = os.WriteFile(filepath.Join(dir, "cgroup"), []byte(p[0]), 0o644)
		_ = os.WriteFile(filepath.Join(dir, "stat"), []byte(stat+"\n"), 0o644)
	}
	if pid, err := Target(proc, id, true); err != nil || pid != 20 {
		t.Errorf("shared: %d, %v; want the oldest, 20", pid, err)
	}
	if pid, err := Target(proc, "", false); err != nil || pid != 1 {
		t.Errorf("target's own namespace: %d, %v; want 1", pid, err)
	}
	for _, bad := range []string{"", "abc", "../../x", strings.Repeat("cd", 32)} {
		if _, err := Target(proc, bad, true); !errors.Is(err, ErrNoTarget) {
			t.Errorf("container %q: %v", bad, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	if got := capabilities("0000000000081004"); !slices.Equal(got, []string{"DAC_READ_SEARCH", "NET_ADMIN", "SYS_PTRACE"}) {
		t.Errorf("capabilities: %v", got)
	}
}

func TestReaches(t *testing.T) {
	proc := t.TempDir()
	for pid, bnd := range map[string]string{"1": "00000000a80425fb", "2": "000001ffffffffff", "3": "no number"} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile(filepath.Join(proc, pid, "status"), []byte("Name:\tx\nCapBnd:\t"+bnd+"\n"), 0o644)
	}
	for pid, want := range map[int]bool{1: false, 2: true, 3: true, 4: true} {
		if got, err := Reaches(proc, pid); got != want || (err != nil) != (pid > 2) {
			t.Errorf("process %d: %v, %v; want %v", pid, got, err, want)
		}
	}
}

// TestKnownFilesAreTold: marks reach the reader in pieces as big as they come; a worker
// without a target refuses them.
func TestKnownFilesAreTold(t *testing.T) {
	f := &target{}
	h, _, _ := begin(t, Options{Reader: f, Cutter: f})
	if err := h.Know(t.Context(), agent.Known{Begin: true, Key: make([]byte, 32), Marks: make([]byte, agent.KnownPiece)}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.took(), fmt.Sprintf("know:%d", agent.KnownPiece); got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	h, _, _ = begin(t, Options{Cutter: f})
	if err := h.Know(t.Context(), agent.Known{}); err == nil {
		t.Error("a worker without a target took them")
	}
}
