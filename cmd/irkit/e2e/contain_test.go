//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// bridge reports a lab whose network ignores NetworkPolicy.
func bridge() bool { return os.Getenv("CNI") == "bridge" }

// secrets are values planted in the scene that must be in no file of a bundle and in no
// output; control is planted where it must be found, so that the test can fail.
var (
	secrets = []string{
		"PLANTED-SECRET-db-7f3a91c4e2", "PLANTED-SECRET-aws-0d5b62f8aa", "PLANTED-SECRET-token-c91e77d310",
		"PLANTED-SECRET-mounted-key-2b8e5d6f41", "PLANTED-CONFIG-db-host-4417",
	}
	controls = []string{"DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "API_TOKEN", "web-secrets"}
)

// TestContain is the main job, on a StatefulSet's pod with an intrusion in it.
func TestContain(t *testing.T) {
	c := reset(t)
	before := getPod(t, c, "prod", "web-0")
	p := newPerson(t)
	r := p.contain("web-0", "prod", "--canary", "10.200.0.1:9999").want(t, 0)
	v := r.result(t)
	cutBy := time.Now()

	t.Run("verdict", func(t *testing.T) { checkVerdict(t, v.Verdict) })
	t.Run("verifies with stock tools and with irkit", func(t *testing.T) {
		if err := verifyStock(t, v.Bundle); err != nil {
			t.Error(err)
		}
		p.irkit("verify", v.Bundle).want(t, 0).says(t, "integrity  ok", "origin     not checked")
		p.irkit("verify", v.Bundle, "--signers", filepath.Join(v.Bundle, "seal", "allowed_signers")).want(t, 0).says(t, "origin     ok")
	})
	t.Run("holds the intrusion", func(t *testing.T) { checkIntrusion(t, v.Bundle) })
	t.Run("keeps secrets out", func(t *testing.T) {
		for _, s := range secrets {
			if in := whereIs(t, filepath.Dir(v.Bundle), s); len(in) > 0 {
				t.Errorf("%s is in %q", s, in)
			}
			if strings.Contains(r.stdout+r.stderr, s) {
				t.Errorf("%s was printed", s)
			}
		}
		for _, s := range controls {
			if in := whereIs(t, v.Bundle, s); len(in) == 0 {
				t.Errorf("control %s is nowhere: the search does not see", s)
			}
		}
	})
	t.Run("the outside clock agrees", func(t *testing.T) { checkClock(t, v.Verdict, before.Status.PodIP, cutBy) })
	t.Run("liveness survives ten probe periods", func(t *testing.T) {
		time.Sleep(time.Until(cutBy.Add(11 * time.Second)))
		after := getPod(t, c, "prod", "web-0")
		if n := after.Status.ContainerStatuses[0].RestartCount; n != before.Status.ContainerStatuses[0].RestartCount {
			t.Errorf("restarted %d times", n)
		}
		if after.UID != before.UID {
			t.Error("the pod was replaced")
		}
	})
	t.Run("the node's other ports are closed", func(t *testing.T) {
		var reached, answered bool
		var tries int
		for _, pr := range v.Verdict.Probes {
			if pr.Name != "canary-1" || pr.Pinhole {
				continue
			}
			switch {
			case pr.Compared: // the probe pod's own try: the port is open to others
				reached = reached || pr.Answered
			case pr.At.After(v.Verdict.Cut.Installed):
				tries++
				answered = answered || pr.Answered
			}
		}
		if !reached || tries == 0 || answered {
			t.Errorf("10.200.0.1:9999: the probe pod reaches it %v; the target tried %d times, reaches it %v", reached, tries, answered)
		}
	})
	t.Run("status tells the truth", func(t *testing.T) {
		p.irkit("status").want(t, 0).says(t, "prod/web-0", "sealed", "answers")
	})
	t.Run("again on the same pod", func(t *testing.T) {
		again := p.contain("web-0", "prod").result(t)
		if again.Case != v.Case || again.Bundle == v.Bundle {
			t.Errorf("case %s bundle %s, want a further bundle of case %s", again.Case, again.Bundle, v.Case)
		}
		first := records(t, again.Bundle)[0]
		if first.Earlier == nil || first.Earlier.Seal != v.Seal.Hex() {
			t.Errorf("the further bundle does not name the earlier seal: %+v", first.Earlier)
		}
	})
	t.Run("release to service", func(t *testing.T) {
		p.release("web-0", "prod", "--to-service").want(t, 0)
		after := getPod(t, c, "prod", "web-0")
		if !equalMaps(before.Labels, after.Labels) {
			t.Errorf("labels %v, were %v", after.Labels, before.Labels)
		}
		if !equalMaps(protection(before), protection(after)) {
			t.Errorf("protected by %v, was %v", protection(after), protection(before))
		}
		if after.UID != before.UID {
			t.Error("the pod was replaced")
		}
		p.release("web-0", "prod", "--to-service").want(t, 0)
		checkNothingOfOurs(t, "prod")
	})
}

func equalMaps(a, b map[string]string) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func checkVerdict(t *testing.T, v *evidence.Verdict) {
	t.Helper()
	if v == nil {
		t.Fatal("no verdict")
	}
	if v.State != evidence.Contained {
		t.Errorf("verdict %s: %q", v.State, v.Why)
	}
	if v.EstablishedStopped == nil || v.NewStopped == nil {
		t.Errorf("times: established %v, new %v", v.EstablishedStopped, v.NewStopped)
	}
	if bridge() {
		if v.PolicyEnforced == nil || *v.PolicyEnforced || v.PolicyHeld != nil {
			t.Errorf("a policy that nobody enforces: enforced %v, held %v", v.PolicyEnforced, v.PolicyHeld)
		}
		if !strings.Contains(strings.Join(v.Why, " "), "not enforced") {
			t.Errorf("the verdict does not say that the policy is not enforced: %q", v.Why)
		}
		return
	}
	if v.PolicyHeld == nil {
		t.Errorf("no time at which the policy by itself held: %q", v.Why)
	}
}

func checkIntrusion(t *testing.T, bundle string) {
	t.Helper()
	all := entries(t, bundle)
	processes := string(content(t, bundle, find(t, all, "processes", "c0")))
	for _, want := range []string{`"exe_deleted":true`, `"memfd":true`, "kworkerd", "[kthreadd]"} {
		if !strings.Contains(processes, want) {
			t.Errorf("processes do not hold %s", want)
		}
	}
	c2 := false
	for _, l := range bytes.Split(content(t, bundle, find(t, all, "connections", "c0")), []byte("\n")) {
		if bytes.Contains(l, []byte("203.0.113.66:4444")) && bytes.Contains(l, []byte("ESTABLISHED")) && !bytes.Contains(l, []byte(`"pid":0`)) && bytes.Contains(l, []byte(`"pid":`)) {
			c2 = true
		}
	}
	if !c2 {
		t.Error("the C2 connection with its owner is not in connections")
	}
	environment := string(content(t, bundle, find(t, all, "environment", "c0")))
	for _, name := range []string{"DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "API_TOKEN"} {
		if !strings.Contains(environment, name) {
			t.Errorf("environment does not name %s", name)
		}
	}
	elf := 0
	for _, e := range all {
		if e.Kind == "recovered" && bytes.HasPrefix(content(t, bundle, e), []byte("\x7fELF")) {
			elf++
		}
	}
	if elf < 1 {
		t.Error("the deleted binary was not recovered")
	}
	for _, kind := range []string{"open-files", "mounts", "persistence", "filesystem", "log-current"} {
		if e := find(t, all, kind, "c0"); e.Status != evidence.Collected && e.Status != evidence.Changed {
			t.Errorf("%s: %s: %s", kind, e.Status, e.Reason)
		}
	}
	find(t, all, "pod", "pod")
}

// tick is one line of the C2 server's own log, written outside of the cluster.
type tick struct {
	Ms   int64  `json:"ms"`
	Time int64  `json:"unix_ms"`
	Peer string `json:"peer"`
}

// checkClock holds the verdict's times against what the C2 server saw: nothing came from
// the pod after the time at which the verdict says that established flows stopped.
func checkClock(t *testing.T, v *evidence.Verdict, podIP string, end time.Time) {
	t.Helper()
	log := mustRead(t, filepath.Join(labDir, "log", "c2.log"))
	last := time.Time{}
	for _, l := range bytes.Split(log, []byte("\n")) {
		var k tick
		if json.Unmarshal(l, &k) != nil || !strings.HasPrefix(k.Peer, podIP+":") {
			continue
		}
		if at := time.UnixMilli(max(k.Ms, k.Time)); at.After(last) {
			last = at
		}
	}
	if last.IsZero() {
		t.Fatalf("the C2 server never heard from %s", podIP)
	}
	t.Logf("last tick seen outside %s after the start; verdict: established %s, new %s", last.Sub(v.Started),
		v.EstablishedStopped.Sub(v.Started), v.NewStopped.Sub(v.Started))
	if last.After(v.EstablishedStopped.Add(300 * time.Millisecond)) {
		t.Errorf("the C2 server heard from the pod at %s, after the verdict's %s", last, v.EstablishedStopped)
	}
}

// checkNothingOfOurs says that no object of irkit's is left.
func checkNothingOfOurs(t *testing.T, namespace string) {
	t.Helper()
	c := cluster(t)
	policies, err := c.NetworkingV1().NetworkPolicies(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase})
	if err != nil || len(policies.Items) > 0 {
		t.Errorf("policies left: %d, %v", len(policies.Items), err)
	}
	budgets, err := c.PolicyV1().PodDisruptionBudgets(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase})
	if err != nil || len(budgets.Items) > 0 {
		t.Errorf("disruption budgets left: %d, %v", len(budgets.Items), err)
	}
	pods, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelQuarantine})
	if err != nil || len(pods.Items) > 0 {
		t.Errorf("quarantined pods left: %d, %v", len(pods.Items), err)
	}
	node, err := c.CoreV1().Nodes().Get(t.Context(), "lab-node", metav1.GetOptions{})
	if err != nil || node.Spec.Unschedulable {
		t.Errorf("the node is still cordoned: %v", err)
	}
	eventually(t, 90*time.Second, "the probe pod is gone", func() bool {
		probes, err := c.CoreV1().Pods("irkit-system").List(t.Context(), metav1.ListOptions{})
		return err == nil && len(probes.Items) == 0
	})
}
