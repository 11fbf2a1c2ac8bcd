package debugger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/frame"
	"irkit.dev/irkit/evidence"
)

// api is an API server and a kubelet with one pod: real HTTP, real SPDY and WebSocket
// streams, a real frame server behind exec.
type api struct {
	t      *testing.T
	ctx    context.Context
	server *httptest.Server
	wires  *wires

	mu      sync.Mutex
	pod     *corev1.Pod
	changed chan struct{}
	worker  *frame.Server
	payload []byte
	binary  bool // came through exec

	admit  func(corev1.EphemeralContainer, bool) *metav1.Status
	status func(name string) corev1.ContainerState // of an injected container
	noWS   bool
	cut    int // bytes after which the next stream of the binary breaks off
	tries  int
	served []string // transports of relays
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{
		t: t, ctx: t.Context(), changed: make(chan struct{}), payload: bytes.Repeat([]byte("payload "), 300_000),
		wires: &wires{open: map[net.Conn]bool{}},
		pod: &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Name: "web-0", Namespace: "prod", UID: "u-1", ResourceVersion: "1"},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "main"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.9", ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", ContainerID: "containerd://" + strings.Repeat("ab", 32), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}}},
		},
		status: func(string) corev1.ContainerState {
			return corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		},
	}
	a.server = httptest.NewServer(a)
	t.Cleanup(func() {
		a.wires.breakAll()
		a.server.CloseClientConnections()
		a.server.Close()
		if a.worker != nil {
			a.worker.Close()
		}
	})
	return a
}

func (a *api) options() Options {
	a.t.Helper()
	cfg := &rest.Config{Host: a.server.URL, Dial: a.wires.dial, QPS: -1}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	return Options{
		Host: Host{
			Client: client, Config: cfg, Recorder: &journal{}, Case: "c1", Image: "irkit-agent:1", Secret: []byte("s"),
			Binary: func(arch string) ([]byte, error) { return a.program(), nil },
		},
		Target:    evidence.Target{ClusterUID: "k", Namespace: "prod", Pod: "web-0", UID: "u-1"},
		Container: "main",
	}
}

func (a *api) program() []byte { return bytes.Repeat([]byte("\x7fELF program "), 40_000) }

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimPrefix(r.URL.Path, "/api/v1/"); {
	case path == "nodes/n1":
		reply(w, 200, &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{Architecture: "arm64"}}})
	case strings.HasSuffix(path, "/exec"):
		a.exec(w, r)
	case strings.HasSuffix(path, "/ephemeralcontainers"):
		a.patch(w, r)
	case r.URL.Query().Get("watch") != "":
		a.watch(w, r)
	case path == "namespaces/prod/pods/web-0":
		a.mu.Lock()
		defer a.mu.Unlock()
		reply(w, 200, a.pod)
	default:
		refuse(w, &metav1.Status{Status: "Failure", Code: 404, Reason: metav1.StatusReasonNotFound, Message: "not here", Details: &metav1.StatusDetails{Name: "x"}})
	}
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, s *metav1.Status) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	reply(w, int(s.Code), s)
}

func (a *api) patch(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	dry := r.URL.Query().Get("dryRun") == "All"
	a.mu.Lock()
	defer a.mu.Unlock()
	was, _ := json.Marshal(a.pod)
	merged, err := strategicpatch.StrategicMergePatch(was, body, corev1.Pod{})
	var pod corev1.Pod
	if err == nil {
		err = json.Unmarshal(merged, &pod)
	}
	if err != nil || r.URL.Query().Get("fieldManager") != fieldManager {
		refuse(w, &metav1.Status{Status: "Failure", Code: 400, Reason: metav1.StatusReasonBadRequest, Message: fmt.Sprint(err)})
		return
	}
	if pod.UID != a.pod.UID {
		refuse(w, &metav1.Status{Status: "Failure", Code: 422, Reason: metav1.StatusReasonInvalid, Message: "invalid", Details: &metav1.StatusDetails{
			Name: "web-0", Causes: []metav1.StatusCause{{Field: "metadata.uid", Message: "field is immutable"}}}})
		return
	}
	c := pod.Spec.EphemeralContainers[len(pod.Spec.EphemeralContainers)-1]
	if a.admit != nil {
		if s := a.admit(c, dry); s != nil {
			refuse(w, s)
			return
		}
	}
	if !dry {
		b, _ := hex.DecodeString(keyOf(c.Command))
		a.begin(b)
		pod.ResourceVersion += "1"
		a.pod = &pod
		go a.start(c.Name)
	}
	reply(w, 200, &pod)
}

// start is the kubelet's part: the status comes a little later.
func (a *api) start(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pod = a.pod.DeepCopy()
	a.pod.ResourceVersion += "2"
	a.pod.Status.EphemeralContainerStatuses = append(a.pod.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: name, ImageID: "id", State: a.status(name)})
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *api) watch(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("fieldSelector") != "metadata.name=web-0" {
		a.t.Errorf("watch of %q", r.URL.Query().Get("fieldSelector"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.(http.Flusher).Flush()
	for last := r.URL.Query().Get("resourceVersion"); ; {
		a.mu.Lock()
		pod, changed := a.pod, a.changed
		a.mu.Unlock()
		if pod.ResourceVersion != last {
			last = pod.ResourceVersion
			raw, _ := json.Marshal(pod)
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": json.RawMessage(raw)})
			w.(http.Flusher).Flush()
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// begin makes the worker of the container that was injected last.
func (a *api) begin(key ed25519.PublicKey) {
	s, err := frame.NewServer(key, a, frame.ServerOptions{})
	if err != nil {
		a.t.Error(err)
		return
	}
	a.worker = s
}

// Handle is the worker's: an artifact and a name.
func (a *api) Handle(_ context.Context, verb string, _ json.RawMessage, out *frame.Out) error {
	switch verb {
	case frame.VerbDescribe:
		id := agent.Identity{Version: "fake", SHA256: sha256.Sum256(a.program())}
		return out.Reply(id)
	case frame.VerbCollect:
		out.Tune(frame.None)
		return out.Emit(agent.Header{Kind: "filesystem", Ext: "tar", Class: evidence.Restricted, Trust: evidence.TrustDebugger}, bytes.NewReader(a.payload))
	}
	return nil
}

func (a *api) exec(w http.ResponseWriter, r *http.Request) {
	if a.noWS && r.Method == http.MethodGet {
		http.Error(w, "no upgrade here", http.StatusForbidden)
		return
	}
	streams, status, closeAll := a.streams(w, r)
	if streams == nil {
		return
	}
	defer closeAll()
	command := r.URL.Query()["command"]
	if strings.Contains(strings.Join(command, " "), "cat >") {
		status(a.take(streams, command))
		return
	}
	a.mu.Lock()
	worker, there := a.worker, a.binary || command[0] != "sh"
	a.served = append(a.served, r.Method)
	a.mu.Unlock()
	if !there {
		status(79)
		return
	}
	if keyOf(command) == "" {
		a.t.Errorf("relay without a key: %q", command)
	}
	_ = worker.Serve(a.ctx, streams, nil)
}

// take is the script that takes the binary: it says the digest when it is whole.
func (a *api) take(s io.ReadWriter, command []string) int {
	a.mu.Lock()
	cut := a.cut
	a.cut = 0
	a.tries++
	a.mu.Unlock()
	var in io.Reader = s
	if cut > 0 {
		in = io.LimitReader(s, int64(cut))
	}
	b, _ := io.ReadAll(in)
	sum := sha256.Sum256(b)
	if hex.EncodeToString(sum[:]) != command[len(command)-2] {
		return 1
	}
	fmt.Fprintf(s, "irkit-agent fake sha256:%x\n", sum)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.binary = true
	return 0
}

type both struct {
	io.Reader
	io.Writer
	end func()
}

func (b both) Close() error { b.end(); return nil }

// streams upgrades the request as a kubelet does.
func (a *api) streams(w http.ResponseWriter, r *http.Request) (io.ReadWriteCloser, func(int), func()) {
	write := func(to io.Writer) func(int) {
		return func(code int) {
			s := metav1.Status{Status: metav1.StatusSuccess}
			if code != 0 {
				s = metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: "command terminated", Details: &metav1.StatusDetails{
					Causes: []metav1.StatusCause{{Type: "ExitCode", Message: fmt.Sprint(code)}}}}
			}
			b, _ := json.Marshal(s)
			_, _ = to.Write(b)
		}
	}
	if r.Method == http.MethodGet {
		channels := []wsstream.ChannelType{wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.ReadChannel}
		c := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{"v5.channel.k8s.io": {Binary: true, Channels: channels}})
		_, s, err := c.Open(w, r)
		if err != nil {
			a.t.Errorf("upgrade: %v", err)
			return nil, nil, nil
		}
		_, _ = s[1].Write(nil)
		return both{s[0], s[1], func() { _ = c.Close() }}, write(s[3]), func() { _ = c.Close() }
	}
	if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
		a.t.Errorf("handshake: %v", err)
		return nil, nil, nil
	}
	got := make(chan httpstream.Stream, 5)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error { got <- s; return nil })
	if conn == nil {
		a.t.Error("no SPDY connection")
		return nil, nil, nil
	}
	by := map[string]httpstream.Stream{}
	for range 4 {
		select {
		case s := <-got:
			by[s.Headers().Get(corev1.StreamType)] = s
		case <-conn.CloseChan():
			return nil, nil, nil
		}
	}
	return both{by[corev1.StreamTypeStdin], by[corev1.StreamTypeStdout], func() { _ = conn.Close() }}, write(by[corev1.StreamTypeError]), func() { _ = conn.Close() }
}

// collectAll reads the payload and reports whether it came whole.
func (a *api) collectAll(h *Hand) error {
	return h.Collect(a.ctx, agent.Request{}, func(_ agent.Header, r io.Reader) error {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if !bytes.Equal(b, a.payload) {
			return errors.New("other bytes passed as whole")
		}
		return nil
	})
}
