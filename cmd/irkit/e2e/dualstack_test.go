//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// Where the lab stands in the second family (lab/place).
const (
	world6 = "2001:db8:203::66"
	node6  = "fd00:10:200::1"
)

// TestDualStack contains a pod that has an address of each family: over each it holds a
// connection to the command server, makes new ones, and is reached by a neighbour.
func TestDualStack(t *testing.T) {
	if !bridge() {
		t.Skip("the lab has both families with CNI=bridge alone")
	}
	c := cluster(t)
	target := own(t, c, "dual", corev1.Container{
		Image: "lab.local/suspect:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Env:            []corev1.EnvVar{{Name: "C2_6", Value: join(world6, 4444)}, {Name: "DIAL_6", Value: join(world6, 8443)}},
		LivenessProbe:  &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}, PeriodSeconds: 1, FailureThreshold: 5},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}}, PeriodSeconds: 1},
	})
	ip4, ip6 := dualIPs(t, target)
	neighbour := own(t, c, "neighbour", corev1.Container{
		Image: "lab.local/suspect:1", Args: []string{"dial", join(ip6, 8080)}, Ports: []corev1.ContainerPort{{ContainerPort: 9000}},
	})
	eventually(t, time.Minute, "the target talks over both families, and its neighbour reaches it", func() bool {
		return time.Since(heard(t, ip4)) < 2*time.Second && time.Since(heard(t, ip6)) < 2*time.Second &&
			time.Since(reached(t, c, neighbour)) < 2*time.Second
	})

	p := newPerson(t)
	v := p.contain(target.Name, target.Namespace, "--canary", join("10.200.0.1", 9999), "--canary", join(node6, 9999)).want(t, 0).result(t)

	t.Run("verdict over both families", func(t *testing.T) { checkFamilies(t, v.Verdict) })
	t.Run("the outside clock agrees", func(t *testing.T) {
		for _, ip := range []string{ip4, ip6} {
			last := heard(t, ip)
			t.Logf("%s: last heard %s after the start", ip, last.Sub(v.Verdict.Started))
			if v.Verdict.EstablishedStopped == nil || last.After(v.Verdict.EstablishedStopped.Add(300*time.Millisecond)) {
				t.Errorf("the command server heard from %s at %s, the verdict says %v", ip, last, v.Verdict.EstablishedStopped)
			}
		}
	})
	t.Run("the neighbour is kept out", func(t *testing.T) {
		if last := reached(t, c, neighbour); last.After(v.Verdict.Cut.Installed.Add(300 * time.Millisecond)) {
			t.Errorf("it reached the target over IPv6 at %s, the cut was made at %s", last, v.Verdict.Cut.Installed)
		}
	})
	t.Run("the bundle holds both connections", func(t *testing.T) {
		connections := string(content(t, v.Bundle, find(t, entries(t, v.Bundle), "connections", "c0")))
		for _, peer := range []string{join("203.0.113.66", 4444), join(world6, 4444)} {
			if !strings.Contains(connections, peer) {
				t.Errorf("%s is not in connections", peer)
			}
		}
	})
	// What the kubelet does where IPv6 is a pod's primary family, from each of the node's
	// addresses, and after each side forgot where the other is.
	t.Run("the node's probes over IPv6 pass", func(t *testing.T) {
		for _, from := range []string{"fd00:10:244::1", node6} {
			if _, err := stock(t, "/", "nsenter", "--net=/run/netns/irkit-lab", "ip", "-6", "neigh", "flush", "to", ip6); err != nil {
				t.Fatal(err)
			}
			if err := fromNode(from, join(ip6, 8080), 5*time.Second); err != nil {
				t.Errorf("the probed port from %s: %v", from, err)
			}
			err := fromNode(from, join(ip6, 9), time.Second)
			if silence, ok := errors.AsType[net.Error](err); !ok || !silence.Timeout() {
				t.Errorf("a port that no probe declares, from %s: %v, want silence", from, err)
			}
		}
	})
	t.Run("nothing was restarted", func(t *testing.T) {
		if now := getPod(t, c, target.Namespace, target.Name); now.Status.ContainerStatuses[0].RestartCount != 0 || now.UID != target.UID {
			t.Errorf("restarted %d times", now.Status.ContainerStatuses[0].RestartCount)
		}
	})
	t.Run("release opens both", func(t *testing.T) {
		p.release(target.Name, target.Namespace, "--to-service").want(t, 0)
		released := time.Now()
		eventually(t, time.Minute, "the target talks over both families again, and its neighbour reaches it", func() bool {
			return heard(t, ip4).After(released) && heard(t, ip6).After(released) && reached(t, c, neighbour).After(released)
		})
		checkNothingOfOurs(t, target.Namespace)
	})
}

// dualIPs are a pod's addresses, one of each family.
func dualIPs(t *testing.T, p *corev1.Pod) (v4, v6 string) {
	t.Helper()
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is4() {
			v4 = a.String()
		} else if err == nil {
			v6 = a.String()
		}
	}
	if v4 == "" || v6 == "" {
		t.Fatalf("the pod has no address of each family: %v", p.Status.PodIPs)
	}
	return v4, v6
}

// checkFamilies holds that over each family something was seen to answer, and that nothing
// answers since the cut, both ways.
func checkFamilies(t *testing.T, v *evidence.Verdict) {
	t.Helper()
	if v.State != evidence.Contained {
		t.Errorf("verdict %s: %q", v.State, v.Why)
	}
	type way struct {
		name string
		six  bool
	}
	before, silent := map[way]bool{}, map[way]bool{}
	for _, r := range v.Probes {
		w := way{r.Name, r.Addr.Addr().Is6()}
		switch {
		case r.Compared || r.Pinhole:
			before[w] = before[w] || r.Answered // others reach it: its silence tells
		// What the probe pod tried just as the cut was being made tells nothing of it.
		case r.At.Before(v.Cut.Installed.Add(time.Second)):
			before[w] = before[w] || r.Answered
		case r.Answered:
			t.Errorf("%s over %s answers after the cut", r.Name, r.Addr)
		default:
			silent[w] = true
		}
	}
	for _, name := range []string{"node", "dns-udp", "dns-tcp", "sibling", "canary-1", "canary-2", "inbound"} {
		for _, six := range []bool{false, true} {
			w := way{name, six}
			if other := name == "canary-1" && six || name == "canary-2" && !six; !other && (!before[w] || !silent[w]) {
				t.Errorf("%s, IPv6 %v: was seen to answer %v, tried and silent since %v", name, six, before[w], silent[w])
			}
		}
	}
	if v.PolicyEnforced == nil || *v.PolicyEnforced {
		t.Errorf("a policy that nobody enforces: enforced %v: %q", v.PolicyEnforced, v.Why)
	}
}

// reached is when a pod that dials was answered last, by its own log.
func reached(t *testing.T, c kubernetes.Interface, p *corev1.Pod) (last time.Time) {
	t.Helper()
	raw, err := c.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		at, answered, _ := strings.Cut(strings.TrimSpace(line), " ")
		if ms, err := strconv.ParseInt(at, 10, 64); err == nil && answered == "true" {
			last = time.UnixMilli(ms)
		}
	}
	return last
}

// fromNode connects from an address of the lab's node, in its network.
func fromNode(from, to string, limit time.Duration) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		failed <- func() error {
			space, err := os.Open("/run/netns/irkit-lab")
			if err != nil {
				return err
			}
			defer space.Close()
			if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the node's network: %w", err)
			}
			d := net.Dialer{Timeout: limit, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			connection, err := d.Dial("tcp", to)
			if err == nil {
				err = connection.Close()
			}
			return err
		}()
	}()
	return <-failed
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
