//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// faultKinds are all that can go wrong with one call.
var faultKinds = []string{"409", "422", "429", "500", "503", "lost", "cut"}

// disturbance is one fault in one command.
type disturbance struct {
	fault
	release bool // of the release; else of contain
}

func (d disturbance) String() string {
	return map[bool]string{true: "release: ", false: "contain: "}[d.release] + d.fault.String()
}

// TestFaults gives wrong answers to single calls of contain and of release. Whatever
// happens: what stands in the cluster is what status says, nothing that holds is taken
// back because something else failed, and running again comes to a good end.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	all := disturbances(t, c)
	t.Logf("%d faults are possible", len(all))
	for n, d := range draw(all) {
		t.Run(fmt.Sprint(n, " ", d), func(t *testing.T) {
			t.Parallel()
			disturbed(t, c, n, d)
		})
	}
}

// disturbances are all faults of all calls that an undisturbed contain and release make.
func disturbances(t *testing.T, c kubernetes.Interface) (all []disturbance) {
	t.Helper()
	pod := victim(t, c, "calm")
	p := newPerson(t)
	record := func(run func()) []call {
		g, kube := newGate(t, nil, pod.Name, "POD", string(pod.UID), "UID", "case-calm", "CASE")
		p.kube = kube
		run()
		return g.was()
	}
	contained := record(func() { p.runChaos(pod.Name, "case-calm").want(t, 0) })
	released := record(func() { p.release(pod.Name, ownNamespace, "--to-service", "--case", "case-calm").want(t, 0) })
	removeVictim(t, c, "calm")
	for i, calls := range [][]call{contained, released} {
		slices.SortFunc(calls, func(a, b call) int {
			if n := strings.Compare(a.Key, b.Key); n != 0 {
				return n
			}
			return a.N - b.N
		})
		for _, k := range calls {
			if k.N > 3 {
				continue // the same question about another right
			}
			for _, kind := range faultKinds {
				all = append(all, disturbance{fault{Call: k.Key, N: k.N, Kind: kind}, i == 1}, disturbance{fault{Call: k.Key, N: k.N, Kind: kind, Ever: true}, i == 1})
			}
		}
	}
	return all
}

// draw is all of them in the soak, and those that IRKIT_FAULTS (a regular expression) asks
// for; else ten, most of them on writes, of every kind.
func draw(all []disturbance) []disturbance {
	if only := os.Getenv("IRKIT_FAULTS"); only != "" {
		asked := regexp.MustCompile(only)
		return slices.DeleteFunc(all, func(d disturbance) bool { return !asked.MatchString(d.String()) })
	}
	if soak() {
		return all
	}
	random := rand.New(rand.NewPCG(11, 3))
	var out []disturbance
	take := func(n int, of func(disturbance) bool) {
		for range n {
			kind := faultKinds[len(out)%len(faultKinds)]
			some := slices.DeleteFunc(slices.Clone(all), func(d disturbance) bool { return d.Kind != kind || !of(d) })
			out = append(out, some[random.IntN(len(some))])
		}
	}
	take(6, func(d disturbance) bool { return !d.release && d.writes() })
	take(2, func(d disturbance) bool { return !d.release && !d.writes() })
	take(2, func(d disturbance) bool { return d.release && d.writes() })
	return out
}

func (f fault) writes() bool {
	return !strings.HasPrefix(f.Call, "GET") && !strings.Contains(f.Call, "/selfsubject") || strings.HasSuffix(f.Call, "/exec")
}

func disturbed(t *testing.T, c kubernetes.Interface, n int, d disturbance) {
	name := fmt.Sprintf("fault-%d", n)
	caseID := "case-" + name
	pod := victim(t, c, name)
	p := newPerson(t)
	through := func(run func() ran) ran {
		g, kube := newGate(t, &d.fault, pod.Name, "POD", string(pod.UID), "UID", caseID, "CASE")
		p.kube = kube
		defer func() { p.kube = responder }()
		r := run()
		for _, k := range g.was() {
			if k.Faulty {
				t.Logf("%s for %s #%d", d.Kind, k.Key, k.N)
			}
		}
		return r
	}
	if !d.release {
		p.checkHonest(t, c, pod, caseID, through(func() ran { return p.runChaos(pod.Name, caseID) }))
		if n%2 == 0 {
			p.checkHonest(t, c, pod, caseID, p.again(t, pod.Name, caseID))
		}
	} else {
		p.runChaos(pod.Name, caseID).want(t, 0)
		r := through(func() ran {
			return p.release(pod.Name, ownNamespace, "--to-service", "--case", caseID)
		})
		if r.code != 0 && r.code != 1 {
			t.Errorf("release ends with %d", r.code)
		}
		p.checkStands(t, c, pod, caseID)
	}
	if bundle, _ := p.custody(); bundle == "" {
		checkUntouched(t, c, pod, caseID)
		return
	}
	p.release(pod.Name, ownNamespace, "--to-service", "--case", caseID).want(t, 0)
	checkUntouched(t, c, pod, caseID)
}

// checkHonest holds the end of a contain against the cluster, and its bundle against its seal.
func (p *person) checkHonest(t *testing.T, c kubernetes.Interface, pod *corev1.Pod, caseID string, r ran) {
	t.Helper()
	bundle, _ := p.custody()
	if bundle == "" {
		if r.code != 1 && r.code != 6 {
			t.Errorf("exit %d, and no bundle", r.code)
		}
		checkUntouched(t, c, pod, caseID)
		return
	}
	if !slices.Contains([]int{0, 3, 5}, r.code) {
		t.Errorf("exit %d", r.code)
	}
	if !sealedBefore(bundle) {
		t.Fatal("the bundle is not sealed")
	}
	if err := verifyStock(t, bundle); err != nil {
		t.Error(err)
	}
	p.checkStands(t, c, pod, caseID)
}
