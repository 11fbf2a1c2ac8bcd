package debugger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/embedded"
	"irkit.dev/irkit/evidence"
)

// The tests of this file need a cluster that nobody depends on: they are run when
// IRKIT_LAB_KUBECONFIG names its kubeconfig. They work in namespaces of their own.

// journal is a Recorder that remembers.
type journal struct {
	mu  sync.Mutex
	ids []string
	did map[string]json.RawMessage
}

func (j *journal) Do(ctx context.Context, c evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.did == nil {
		j.did = map[string]json.RawMessage{}
	}
	if d, ok := j.did[c.ID]; ok {
		return d, nil
	}
	j.ids = append(j.ids, c.ID)
	if c.ID == "" || c.Why == "" || c.Op == evidence.OpInject && (c.Irreversible == "" || len(c.After) == 0) {
		return nil, fmt.Errorf("change is not whole: %+v", c)
	}
	d, err := act(ctx)
	if err == nil {
		j.did[c.ID] = d
	}
	return d, err
}

type nobody struct{}

func (nobody) Do(context.Context, evidence.Change, func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	return nil, errors.New("nothing may be written")
}

type lab struct {
	t         *testing.T
	host      Host
	wires     *wires
	namespace string
}

func newLab(t *testing.T, level string) *lab {
	t.Helper()
	path := os.Getenv("IRKIT_LAB_KUBECONFIG")
	if path == "" {
		t.Skip("IRKIT_LAB_KUBECONFIG names no lab")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	w := &wires{open: map[net.Conn]bool{}}
	begun := time.Now()
	cfg.Dial = w.dial
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, wires: w, host: Host{
		Client: client, Config: cfg, Recorder: &journal{}, Case: "t1", PullPolicy: corev1.PullNever, DebugImage: "lab.local/busybox:1",
		Binary: embedded.Binary, Secret: []byte("case key"), StartTimeout: time.Minute, Grace: 20 * time.Second,
		MaxLife: 10 * time.Minute, Progress: func(s string) { t.Log(time.Since(begun).Round(time.Millisecond), s) },
	}}
	if _, err := embedded.Binary("amd64"); err != nil {
		t.Skip("built without agent: ", embedded.Hint)
	}
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "hand-test-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": level},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.namespace = ns.Name
	t.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns.Name, metav1.DeleteOptions{})
	})
	return l
}

// pod starts a target and waits until it runs.
func (l *lab) pod(name string, change func(*corev1.Pod)) evidence.Target {
	l.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: l.namespace}, Spec: corev1.PodSpec{
		AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(0)),
		Containers: []corev1.Container{{
			Name: "main", Image: "lab.local/busybox:1", ImagePullPolicy: corev1.PullNever,
			Command: []string{"sh", "-c", "while :; do sleep 1; done"}, Env: []corev1.EnvVar{{Name: "LAB_SECRET", Value: "x"}},
		}},
	}}
	if change != nil {
		change(p)
	}
	client := l.host.Client.CoreV1()
	p, err := client.Pods(l.namespace).Create(l.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	s := seat{namespace: l.namespace, pod: name, podUID: string(p.UID), container: p.Spec.Containers[0].Name}
	if p, _, err = l.host.withDefaults().await(l.t.Context(), s); err != nil {
		l.t.Fatal(err)
	}
	return evidence.Target{ClusterUID: "c", Namespace: l.namespace, Pod: name, UID: string(p.UID), Node: p.Spec.NodeName}
}

func (l *lab) nodeAddrs() (all []netip.Addr) {
	nodes, err := l.host.Client.CoreV1().Nodes().List(l.t.Context(), metav1.ListOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, a := range nodes.Items[0].Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			all = append(all, ip)
		}
	}
	return all
}

func TestLabHand(t *testing.T) {
	for _, tr := range []Transport{WS, SPDY, Auto} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s shared=%v", tr, shared), func(t *testing.T) {
				l := newLab(t, "privileged")
				target := l.pod("suspect", func(p *corev1.Pod) {
					if shared {
						p.Spec.ShareProcessNamespace = new(true)
					}
				})
				l.host.Transport = tr
				testHand(t, l, Options{Host: l.host, Target: target, Container: "main"})
			})
		}
	}
}

// TestLabOwnImage needs irkit's own image on the node, under the name that
// IRKIT_LAB_AGENT_IMAGE gives.
func TestLabOwnImage(t *testing.T) {
	image := os.Getenv("IRKIT_LAB_AGENT_IMAGE")
	if image == "" {
		t.Skip("IRKIT_LAB_AGENT_IMAGE names no image on the lab's node")
	}
	l := newLab(t, "privileged")
	l.host.Image, l.host.DebugImage = image, ""
	testHand(t, l, Options{Host: l.host, Target: l.pod("suspect", nil), Container: "main"})
	restricted := newLab(t, "restricted")
	restricted.host.Image, restricted.host.DebugImage = image, ""
	h, err := StartProbePod(t.Context(), ProbeOptions{Host: restricted.host, Namespace: restricted.namespace})
	if err != nil {
		t.Fatal(err)
	}
	if h.Info().Streamed || len(h.Info().Alterations) != 0 {
		t.Errorf("probe pod: %+v", h.Info())
	}
	_ = h.Close(t.Context(), true)
}

func testHand(t *testing.T, l *lab, o Options) {
	ctx := t.Context()
	choice, err := Choose(ctx, o)
	if err != nil || choice.Profile != P1N || choice.Standing {
		t.Fatalf("choice: %+v, %v", choice, err)
	}
	begun := time.Now()
	h, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("attached after %v over %s: %+v", time.Since(begun), h.Transport(), h.Info())
	id, err := h.Describe(ctx)
	if err != nil || id.TargetPID == 0 || id.UID != 0 || len(id.Caps) != 3 {
		t.Errorf("identity: %+v, %v", id, err)
	}
	begun = time.Now()
	opened, err := h.Open(ctx, agent.Opening{Cut: &agent.Cut{Case: "t1", NodeAddrs: l.nodeAddrs()}})
	if err != nil || opened.Cut == nil || opened.Processes == 0 || len(opened.Faults) > 0 {
		t.Errorf("opened: %+v, %v", opened, err)
	}
	t.Logf("opening move took %v, the cut %v", time.Since(begun), opened.Cut.Took)
	size, n := collectBroken(t, l, h)
	t.Logf("file system: %d bytes, %d connections broken meanwhile", size, n)
	if err := h.Lift(ctx, "t1"); err != nil {
		t.Error(err)
	}
	if err := h.Close(ctx, false); err != nil {
		t.Error(err)
	}
	// Again, by a command that may write nothing.
	o.Recorder = nobody{}
	o.Image, o.DebugImage = "", "none"
	if choice, err := Choose(ctx, o); err != nil || !choice.Standing || choice.Profile != P1N {
		t.Errorf("choice: %+v, %v", choice, err)
	}
	again, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if again.Info().Container != h.Info().Container {
		t.Errorf("hand in %s, it stood in %s", again.Info().Container, h.Info().Container)
	}
	if o, err := again.Open(ctx, agent.Opening{}); err != nil || !o.Again && o.Processes == 0 {
		t.Errorf("opened again: %+v, %v", o, err)
	}
	if err := again.Close(ctx, true); err != nil {
		t.Error(err)
	}
	// An ended hand is used up: a further one gets a further name.
	o.Host = l.host
	third, err := Start(ctx, o)
	for errors.Is(err, agent.ErrGone) { // the kubelet had not told yet that it ended
		third, err = Start(ctx, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	if third.Info().Container == h.Info().Container {
		t.Error("an ended hand was used again")
	}
	_ = third.Close(ctx, true)
}

// collectBroken reads the target's file system while its connections are broken.
func collectBroken(t *testing.T, l *lab, h *Hand) (size int64, broken int) {
	t.Helper()
	artifacts := 0
	err := h.Collect(t.Context(), agent.Request{Kind: "filesystem", HMACKey: []byte("k")}, func(_ agent.Header, r io.Reader) error {
		if r == nil {
			return nil
		}
		artifacts++
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			if size += int64(n); broken < 3 && n > 0 {
				l.wires.breakAll()
				broken++
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		tr := r.(interface{ Trailer() evidence.Trailer }).Trailer()
		if tr.SHA256.IsZero() {
			t.Errorf("whole stream without a trailer: %+v", tr)
		}
		return nil
	})
	if err != nil || artifacts == 0 {
		t.Errorf("collect: %d artifacts, %v", artifacts, err)
	}
	return size, broken
}

func TestLabRefusals(t *testing.T) {
	l := newLab(t, "baseline")
	ctx := t.Context()
	target := l.pod("plain", nil)
	o := Options{Host: l.host, Target: target, Container: "main", Profiles: Strong()}
	_, err := Start(ctx, o)
	var no *NoProfileError
	if !errors.As(err, &no) || len(no.Refused) != 2 || !errors.Is(err, ErrNoProfile) {
		t.Errorf("baseline namespace: %v", err)
	}
	t.Log(err)
	if len(l.host.Recorder.(*journal).ids) != 0 {
		t.Error("a refused hand was written")
	}
	o.Container = "other"
	if _, err := Start(ctx, o); err == nil || !strings.Contains(err.Error(), "no container") {
		t.Errorf("unknown container: %v", err)
	}
	o.Container, o.Target.UID = "main", "00000000-0000-0000-0000-000000000000"
	if _, err := Start(ctx, o); !errors.Is(err, ErrReplaced) {
		t.Errorf("another UID: %v", err)
	}
}

func TestLabStuckStarts(t *testing.T) {
	l := newLab(t, "privileged")
	ctx := t.Context()
	o := Options{Host: l.host, Target: l.pod("a", nil), Container: "main"}
	o.DebugImage = "lab.local/nowhere:1"
	if _, err := Start(ctx, o); !errors.Is(err, ErrImage) {
		t.Errorf("image that is not there: %v", err)
	} else {
		t.Log(err)
	}
	o.DebugImage = "lab.local/distroless:1"
	o.Target = l.pod("b", nil)
	if _, err := Start(ctx, o); !errors.Is(err, ErrConfig) && !errors.Is(err, ErrEnded) {
		t.Errorf("image without a shell: %v", err)
	} else {
		t.Log(err)
	}
	short := l.pod("c", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Command = []string{"sh", "-c", "sleep 1"}
	})
	o.DebugImage, o.Target = "lab.local/busybox:1", short
	for range 30 {
		h, err := Start(ctx, o)
		if errors.Is(err, ErrTargetDown) {
			return
		}
		if err == nil {
			_ = h.Close(ctx, false)
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Error("a target that ended was not told")
}

func TestLabProbePod(t *testing.T) {
	l := newLab(t, "restricted")
	ctx := t.Context()
	o := ProbeOptions{Host: l.host, Namespace: l.namespace}
	if c, err := ProbePodChange(o); err != nil || !bytes.Contains(c.After, []byte("runAsNonRoot")) {
		t.Errorf("change: %s, %v", c.After, err)
	}
	begun := time.Now()
	h, err := StartProbePod(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("probe pod after %v: %+v", time.Since(begun), h.Info())
	id, err := h.Describe(ctx)
	if err != nil || id.UID != probeUser || len(id.Caps) != 0 {
		t.Errorf("identity: %+v, %v", id, err)
	}
	m, err := h.Measure(ctx, agent.Measurement{Limit: 300 * time.Millisecond, Probes: []evidence.Probe{
		{Name: "none", Proto: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:1")},
	}})
	if err != nil || len(m.Probes) != 1 {
		t.Errorf("measured: %+v, %v", m, err)
	}
	_ = h.Close(ctx, false)
	again, err := StartProbePod(ctx, o)
	if err != nil || again.Info().PodUID != h.Info().PodUID {
		t.Fatalf("again: %v", err)
	}
	_ = again.Close(ctx, false)
	o.Secret = []byte("another case key") // whose pod it is cannot be proven: a new one
	other, err := StartProbePod(ctx, o)
	if err != nil || other.Info().PodUID == h.Info().PodUID {
		t.Fatalf("another key: %v", err)
	}
	_ = other.Close(ctx, false)
	for range 2 {
		if err := DeleteProbePod(ctx, o); err != nil {
			t.Error(err)
		}
	}
}
