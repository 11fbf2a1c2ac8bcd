package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/playbooks"
)

// isolated is a step that makes one change, which stands from then on.
type isolated struct{ site *playbooks.Site }

func (isolated) Needs() playbooks.Needs                   { return playbooks.Needs{} }
func (isolated) Build(s *playbooks.Site) playbooks.Action { return isolated{s} }
func (i isolated) Run(ctx context.Context, _ evidence.Target, _ evidence.Sink) (playbooks.Outcome, error) {
	c := evidence.Change{
		ID: "netpol/create/x", Layer: "netpol", Op: evidence.OpCreate, Why: "stop all traffic",
		Object: evidence.Object{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "prod", Name: "irkit-quarantine-inc-7"},
	}
	_, err := i.site.Journal.Do(ctx, c, func(context.Context) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
	return playbooks.Outcome{Summary: "applied: netpol"}, err
}

// recorded is a home with two cases of a pod: inc-7, sealed, with a policy that stands, and
// inc-8, which was left open.
func recorded(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.LoadOrCreateKey(filepath.Join(dir, "key"), "jo@laptop")
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	e := &playbooks.Engine{
		Conn: &cluster.Conn{Context: "lab"}, Cases: playbooks.Cases{Home: home}, Signer: key, Now: time.Now, Progress: func(string, ...any) {},
		Tool: evidence.Tool{Name: "irkit", Version: "test"}, Actor: evidence.Actor{Name: "jo", Host: "laptop"},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-0", UID: "uid-7"}}
	run := func(caseID string) playbooks.Result {
		r, err := e.Run(t.Context(), playbooks.Order{
			Case: caseID, Pod: pod, Target: evidence.Target{ClusterUID: "cluster-1", Namespace: "prod", Pod: "web-0", UID: "uid-7", Node: "n1"},
			Plan: &playbooks.Plan{Playbook: playbooks.Playbook{Name: "contain", Steps: []playbooks.Step{{ID: "isolate"}}}, Blueprints: []playbooks.Blueprint{isolated{}}},
		}, playbooks.Prospect{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	run("inc-7")
	// A kill between the last record and the signature leaves this.
	if err := os.Remove(filepath.Join(run("inc-8").Bundle, evidence.SealSignature)); err != nil {
		t.Fatal(err)
	}
	return home
}
