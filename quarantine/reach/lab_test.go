package reach_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/quarantine/reach"
)

// The test of this file needs a cluster that nobody depends on: it is run when
// IRKIT_LAB_KUBECONFIG names its kubeconfig. It works in namespaces of its own, and its
// clusterwide policies select pods of these alone.

// marked is on every object of a sample.
const marked = "irkit-sample"

var (
	sampled   = []uint16{1, 2, 3}
	protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}
	cnps      = schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"}
	ccnps     = schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumclusterwidenetworkpolicies"}
)

// TestLabEvaluatorAgainstCilium: policies drawn from a seed, real connections between real
// pods, TCP and UDP: what the evaluator says is closed never passes, and what it says is
// open does. IRKIT_SOAK draws more of them.
func TestLabEvaluatorAgainstCilium(t *testing.T) {
	s := newSample(t)
	waves := uint64(4)
	if os.Getenv("IRKIT_SOAK") != "" {
		waves = 24
	}
	var sum tally
	for seed := range waves {
		got := s.wave(t, seed)
		t.Logf("wave %d: %s", seed, got)
		sum.add(got)
	}
	t.Logf("in all: %s", sum)
	if sum.open == 0 || sum.closed == 0 {
		t.Error("the sample holds one answer only")
	}
}

// tally is what one sample came to.
type tally struct {
	policies, open, closed, unsure int
	took                           time.Duration
}

func (a *tally) add(b tally) {
	a.policies, a.open, a.closed, a.unsure, a.took = a.policies+b.policies, a.open+b.open, a.closed+b.closed, a.unsure+b.unsure, a.took+b.took
}

func (a tally) String() string {
	return fmt.Sprintf("%d policies, %d connections: %d open and %d closed as evaluated, %d not known; in %s",
		a.policies, a.open+a.closed+a.unsure, a.open, a.closed, a.unsure, a.took.Round(time.Millisecond))
}

type sample struct {
	conn   *cluster.Conn
	spaces map[string]string // what the generator calls them, and what they are
	ends   []sampleEnd
}

type sampleEnd struct {
	reach.Endpoint
	pod *corev1.Pod
}

// newSample starts nine pods in two namespaces, each of which answers on every port.
func newSample(t *testing.T) *sample {
	t.Helper()
	path := os.Getenv("IRKIT_LAB_KUBECONFIG")
	if path == "" {
		t.Skip("IRKIT_LAB_KUBECONFIG names no lab")
	}
	conn, err := cluster.Connect(cluster.Options{Kubeconfig: path, Case: "lab", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Dynamic.Resource(ccnps).List(t.Context(), metav1.ListOptions{Limit: 1}); err != nil {
		t.Skip("the lab's network is not Cilium: ", err)
	}
	s := &sample{conn: conn, spaces: map[string]string{}}
	g := gen{rand.New(rand.NewPCG(7, 7))}
	labels := map[string]map[string]string{}
	for _, name := range []string{"prod", "other"} {
		ns, err := conn.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "sample-", Labels: g.labels()}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.spaces[name], labels[name] = ns.Name, ns.Labels
		t.Cleanup(func() {
			_ = conn.Client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns.Name, metav1.DeleteOptions{})
		})
	}
	t.Cleanup(func() { s.clear(context.WithoutCancel(t.Context()), t) })
	for n := range 9 {
		name := "prod"
		if n%3 == 2 {
			name = "other"
		}
		end := g.end(s.spaces[name], "10.0.0.1")
		end.Pod.NamespaceLabels = labels[name]
		end.Pod.Labels[marked] = s.spaces["prod"]
		s.ends = append(s.ends, sampleEnd{Endpoint: end, pod: s.start(t, fmt.Sprintf("p%d", n), end.Pod)})
	}
	for i := range s.ends {
		s.run(t, &s.ends[i])
	}
	return s
}

func (s *sample) start(t *testing.T, name string, as *reach.PodEnd) *corev1.Pod {
	t.Helper()
	p, err := s.conn.Client.CoreV1().Pods(as.Namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: as.Labels},
		Spec: corev1.PodSpec{AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(0)),
			Containers: []corev1.Container{{Name: "mesh", Image: "lab.local/suspect:1", ImagePullPolicy: corev1.PullNever,
				Args: []string{"mesh", "1,2,3"}, Ports: as.Ports}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *sample) run(t *testing.T, e *sampleEnd) {
	t.Helper()
	for range 240 {
		p, err := s.conn.Client.CoreV1().Pods(e.Pod.Namespace).Get(t.Context(), e.pod.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" {
			e.IP, e.pod = netip.MustParseAddr(p.Status.PodIP), p
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatalf("pod %s/%s does not run", e.Pod.Namespace, e.pod.Name)
}

// wave writes the policies of a seed, and tries every connection until what happens has
// been what the evaluator says twice in a row. A plugin acts in its own time; what it
// ends with is what counts.
func (s *sample) wave(t *testing.T, seed uint64) tally {
	t.Helper()
	begun := time.Now()
	s.clear(t.Context(), t)
	policies := s.write(t, seed)
	want := map[string]reach.Answer{}
	for _, from := range s.ends {
		for _, to := range s.ends {
			if from.IP == to.IP {
				continue
			}
			for _, port := range sampled {
				for _, proto := range protocols {
					out, _ := policies.Decide(from.Endpoint, reach.Flow{Direction: out, Peer: to.Endpoint, Protocol: proto, Port: port})
					in, _ := policies.Decide(to.Endpoint, reach.Flow{Direction: in, Peer: from.Endpoint, Protocol: proto, Port: port})
					want[key(from, to, proto, port)] = min(out, in)
				}
			}
		}
	}
	var wrong []string
	for agreed, end := 0, time.Now().Add(90*time.Second); agreed < 2; {
		if time.Now().After(end) {
			t.Fatalf("seed %d: the evaluator and Cilium differ:\n  %s\nby:\n%s", seed, strings.Join(wrong, "\n  "), s.show(policies))
		}
		wrong = differences(want, s.connect(t))
		if agreed++; len(wrong) > 0 {
			agreed = 0
		}
	}
	got := tally{policies: len(policies.Network) + len(policies.Foreign), took: time.Since(begun)}
	for _, a := range want {
		switch a {
		case reach.Yes:
			got.open++
		case reach.No:
			got.closed++
		default:
			got.unsure++
		}
	}
	return got
}

func key(from, to sampleEnd, proto corev1.Protocol, port uint16) string {
	return fmt.Sprintf("%s %s %s", from.pod.Name, strings.ToLower(string(proto)), netip.AddrPortFrom(to.IP, port))
}

func differences(want map[string]reach.Answer, answered map[string]bool) []string {
	var wrong []string
	for k, a := range want {
		if a != reach.Unsure && (a == reach.Yes) != answered[k] {
			wrong = append(wrong, fmt.Sprintf("%s: evaluated %s, answered %v", k, a, answered[k]))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// connect tries everything from every pod, and answers what was answered.
func (s *sample) connect(t *testing.T) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, from := range s.ends {
		var in bytes.Buffer
		for _, to := range s.ends {
			for _, port := range sampled {
				for _, proto := range protocols {
					if to.IP != from.IP {
						fmt.Fprintln(&in, strings.TrimPrefix(key(from, to, proto, port), from.pod.Name+" "))
					}
				}
			}
		}
		all.Go(func() {
			var out bytes.Buffer
			if err := s.exec(t.Context(), from.pod, &in, &out, "/suspect", "try", "900ms"); err != nil {
				t.Errorf("try from %s: %v", from.pod.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(out.String()) {
				got[from.pod.Name+" "+strings.TrimSpace(line)] = true
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return got
}

func (s *sample) exec(ctx context.Context, p *corev1.Pod, in, out *bytes.Buffer, command ...string) error {
	url := s.conn.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.Namespace).Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "mesh", Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	x, err := remotecommand.NewSPDYExecutor(s.conn.Config, http.MethodPost, url)
	if err != nil {
		return err
	}
	var errs bytes.Buffer
	if err := x.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: &errs}); err != nil {
		return fmt.Errorf("%w: %s", err, errs.String())
	}
	return nil
}

// show is what a person needs to see why they differ.
func (s *sample) show(p reach.Policies) string {
	var b strings.Builder
	for _, e := range s.ends {
		ports, _ := json.Marshal(e.Pod.Ports)
		fmt.Fprintf(&b, "  %s %s %s labels %v namespace %v ports %s\n", e.Pod.Namespace, e.pod.Name, e.IP, e.Pod.Labels, e.Pod.NamespaceLabels, ports)
	}
	for _, n := range p.Network {
		spec, _ := json.Marshal(n.Spec)
		fmt.Fprintf(&b, "  %s/%s %s\n", n.Namespace, n.Name, spec)
	}
	for _, f := range p.Foreign {
		fmt.Fprintf(&b, "  %s %s\n", f.Title(), f.Spec)
	}
	return b.String()
}
