//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// standing is what `irkit status -o json` says of a case.
type standing struct {
	Case    string          `json:"case"`
	Target  evidence.Target `json:"target"`
	Bundles []struct {
		ID     string `json:"id"`
		Sealed bool   `json:"sealed"`
	} `json:"bundles"`
	Changes  []string          `json:"changes_standing"`
	Unsure   []string          `json:"changes_unsure"`
	Released bool              `json:"released"`
	Left     []string          `json:"left"`
	Live     string            `json:"live"`
	Verdict  *evidence.Verdict `json:"verdict"`
	Faults   []string          `json:"faults"`
}

// kill starts contain and ends it with SIGKILL once its custody log has that many records.
// It answers the bundle, and how many records there were; whole says that the program
// came to its end before.
func (p *person) kill(after int, args ...string) (bundle string, had int, whole bool) {
	p.t.Helper()
	c := p.command(p.t.Context(), args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case err := <-ended:
			bundle, had = p.custody()
			p.t.Logf("irkit came to its end with %d records, before %d: %v\n%s", had, after, err, &said)
			return bundle, had, true
		default:
		}
		if _, had = p.custody(); had >= after {
			if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				p.t.Fatal(err)
			}
			err := <-ended
			bundle, had = p.custody()
			var exit *exec.ExitError
			killed := errors.As(err, &exit) && exit.ExitCode() == -1
			p.t.Logf("killed %v with %d records in custody\n%s", killed, had, &said)
			return bundle, had, !killed
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// custody finds the newest bundle of this home and counts the records in its log.
func (p *person) custody() (bundle string, records int) {
	logs, _ := filepath.Glob(filepath.Join(p.home, "irkit", "cases", "*", "irkit-*", "meta", "custody.jsonl"))
	if len(logs) == 0 {
		return "", 0
	}
	slices.Sort(logs)
	last := logs[len(logs)-1]
	b, err := os.ReadFile(last)
	if err != nil {
		return "", 0
	}
	return filepath.Dir(filepath.Dir(last)), bytes.Count(b, []byte("\n"))
}

// before is what of the scene a release must bring back.
type before struct {
	pod      *corev1.Pod
	labels   map[string]string
	restarts int32
}

// TestKilled ends irkit with kill -9 after a record of its custody log, at many of them.
// status tells the truth then, and contain or release come to a good end.
func TestKilled(t *testing.T) {
	if soak() {
		for k := 1; k < 200; k++ {
			if killedAt(t, k, false) || killedAt(t, k, true) {
				break
			}
		}
		return
	}
	// The opening writes are made side by side: two points in the middle of them. The
	// third is while evidence comes in.
	killedAt(t, 5, false)
	killedAt(t, 9, true)
	killedAt(t, 20, false)
}

// killedAt is one kill, and what follows: contain again and release, or release at once.
// It answers that contain had come to its end before.
func killedAt(t *testing.T, k int, release bool) (over bool) {
	then := "contain"
	if release {
		then = "release"
	}
	t.Run(fmt.Sprintf("after record %d then %s", k, then), func(t *testing.T) {
		c := reset(t)
		p := newPerson(t)
		pod := getPod(t, c, "prod", "web-0")
		was := before{pod, pod.Labels, pod.Status.ContainerStatuses[0].RestartCount}
		bundle, _, whole := p.kill(k, p.quick("web-0", "prod")...)
		if whole {
			over = true
			p.release("web-0", "prod", "--to-service").want(t, 0)
			return
		}
		had := collected(t, bundle)
		p.checkStatus(t, c, was, bundle)
		if !release {
			r := p.runQuick("web-0", "prod").want(t, 0).result(t)
			checkKept(t, r.Bundle, had)
			if r.Bundle != bundle && !sealedBefore(bundle) {
				t.Errorf("it went on in %s, the open one was %s", r.Bundle, bundle)
			}
			if r.Verdict == nil || r.Verdict.State != evidence.Contained {
				t.Errorf("verdict %+v", r.Verdict)
			}
			if err := verifyStock(t, r.Bundle); err != nil {
				t.Error(err)
			}
		}
		p.release("web-0", "prod", "--to-service").want(t, 0)
		checkKept(t, bundle, had)
		if err := verifyStock(t, bundle); err != nil {
			t.Error(err)
		}
		p.irkit("verify", bundle).want(t, 0)
		checkAsBefore(t, c, was)
		checkNothingOfOurs(t, "prod")
	})
	return over
}

func sealedBefore(bundle string) bool {
	_, err := os.Stat(filepath.Join(bundle, evidence.SealSignature))
	return err == nil
}

// collected are the entries that a bundle has now. A last line may be torn.
func collected(t *testing.T, bundle string) []evidence.Entry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(bundle, filepath.FromSlash(evidence.EntriesJSONL)))
	if err != nil {
		return nil
	}
	return lines[evidence.Entry](t, b[:bytes.LastIndexByte(b, '\n')+1])
}

func checkKept(t *testing.T, bundle string, had []evidence.Entry) {
	t.Helper()
	now := entries(t, bundle)
	for _, e := range had {
		i := slices.IndexFunc(now, func(n evidence.Entry) bool { return n.ID == e.ID })
		if i < 0 {
			t.Errorf("entry %s (%s of %s) is lost", e.ID, e.Kind, e.Ordinal)
			continue
		}
		if a, b := mustJSON(t, e), mustJSON(t, now[i]); a != b {
			t.Errorf("entry %s was %s, is %s", e.ID, a, b)
		}
	}
	t.Logf("%d entries before the kill, %d now", len(had), len(now))
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkStatus holds what status says against the cluster.
func (p *person) checkStatus(t *testing.T, c kubernetes.Interface, was before, bundle string) {
	t.Helper()
	r := p.irkit("status", "-o", "json")
	var all []standing
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || len(all) != 1 {
		t.Fatalf("status: %d cases, %v", len(all), err)
	}
	s := all[0]
	// Killed before it measured, with a policy that bit before the baseline, what is silent now
	// proves nothing: then status says so, and its status says it too.
	unproven := s.Verdict != nil && s.Verdict.Outbound != evidence.Contained && !p.provenOut(t)
	if r.code != 0 && (r.code != 5 || !unproven) {
		t.Errorf("status ends with %d", r.code)
	}
	last := s.Bundles[len(s.Bundles)-1]
	if last.ID != filepath.Base(bundle) || last.Sealed != sealedBefore(bundle) {
		t.Errorf("status says of the bundle %+v", last)
	}
	if s.Target.UID != string(was.pod.UID) || s.Released || len(s.Faults) > 0 {
		t.Errorf("target %+v, released %v, faults %q", s.Target, s.Released, s.Faults)
	}
	says := func(all []string, layer string) bool {
		return slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, layer+":") })
	}
	for layer, there := range marks(t, c, was) {
		switch {
		case there && !says(s.Changes, layer) && !says(s.Unsure, layer):
			t.Errorf("%s is in the cluster; status does not say so: stands %q, unsure %q", layer, s.Changes, s.Unsure)
		case !there && says(s.Changes, layer):
			t.Errorf("status says that %s stands; the cluster does not have it", layer)
		}
	}
}

// marks are the layers that the cluster shows.
func marks(t *testing.T, c kubernetes.Interface, was before) map[string]bool {
	t.Helper()
	pod := getPod(t, c, "prod", "web-0")
	node, err := c.CoreV1().Nodes().Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policies, err := c.NetworkingV1().NetworkPolicies("prod").List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]bool{
		"label":  pod.Labels[evidence.LabelQuarantine] != "",
		"netpol": len(policies.Items) > 0,
		"detach": pod.UID == was.pod.UID && pod.Labels["app"] == "",
		"cordon": node.Spec.Unschedulable,
	}
}

// checkAsBefore wants the pod as it was: the same one, its labels, its owner again.
func checkAsBefore(t *testing.T, c kubernetes.Interface, was before) {
	t.Helper()
	var after *corev1.Pod
	eventually(t, 90*time.Second, "the controller has adopted the pod", func() bool {
		p, err := c.CoreV1().Pods("prod").Get(t.Context(), was.pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			t.Fatal("the pod is gone")
		}
		after = p
		return err == nil && len(p.OwnerReferences) == len(was.pod.OwnerReferences)
	})
	if after.UID != was.pod.UID {
		t.Fatalf("the pod was replaced: uid %s, was %s", after.UID, was.pod.UID)
	}
	if !equalMaps(after.Labels, was.labels) {
		t.Errorf("labels %v, were %v", after.Labels, was.labels)
	}
	if _, ours := after.Annotations[evidence.AnnotationOriginal]; ours {
		t.Error("the undo annotation is still there")
	}
	if n := after.Status.ContainerStatuses[0].RestartCount; n != was.restarts {
		t.Errorf("restarted %d times", n-was.restarts)
	}
}
